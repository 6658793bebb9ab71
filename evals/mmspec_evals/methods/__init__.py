"""Ways to produce an answer that are compared with each other."""
