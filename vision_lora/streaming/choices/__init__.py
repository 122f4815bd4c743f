"""Choices: what each source is watched with, and the adapters that it may be."""
