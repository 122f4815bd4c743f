"""Losses of families, where the library's own cannot be taken as they are."""
