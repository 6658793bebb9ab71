"""Reviews of open answers by a model behind an OpenAI-compatible address."""
