"""Checking: what is wrong with a dataset, shown, and mended in a copy."""
