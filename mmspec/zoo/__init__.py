"""The bundled nano models, in plain Hugging Face format."""
