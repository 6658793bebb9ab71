"""Values, protocols and pure functions: the words of the house. No transformers, no I/O."""
