"""Training: the data our own code makes, the loop, and one recipe a file."""
