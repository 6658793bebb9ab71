"""The door: an OpenAI-compatible server."""
