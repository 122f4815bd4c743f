"""Choices that a run makes by itself: pictures a step, layers, rank."""
