"""Seeing: pictures in, and drafters that look at them."""
