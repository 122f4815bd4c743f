"""Records: what is left on disk of what was seen."""
