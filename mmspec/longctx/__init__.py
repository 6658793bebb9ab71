"""Drafters in bounded memory."""
