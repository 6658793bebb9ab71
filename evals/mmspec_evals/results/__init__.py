"""From samples to results: aggregation, intervals, schema, reports."""
