"""Data for the bundled models: every example is a pure function of a seed."""
