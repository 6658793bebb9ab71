"""The only floor that speaks transformers: targets, caches, packed forwards."""
