"""Reading what the user has on disk."""
