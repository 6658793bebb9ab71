"""Load on a running server, measured as vLLM and SGLang measure it."""
