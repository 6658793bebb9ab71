"""Arms of drafting replayed on recorded texts, without a model."""
