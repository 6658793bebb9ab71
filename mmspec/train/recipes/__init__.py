"""Recipes: one file each, run by `mmspec train NAME`."""
