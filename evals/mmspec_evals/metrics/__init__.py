"""Scoring rules as pure functions; no files, no models."""
