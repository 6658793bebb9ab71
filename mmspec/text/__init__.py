"""Drafters with weights that read text."""
