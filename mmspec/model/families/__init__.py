"""What differs between model families: spans, positions, features."""
