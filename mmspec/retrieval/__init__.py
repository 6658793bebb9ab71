"""Memory that quotes: drafters without weights."""
