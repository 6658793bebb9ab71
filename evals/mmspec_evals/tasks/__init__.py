"""Benchmarks: one module a family, found by scanning this folder."""
