"""Files: detection in pictures and videos that are there already, and its results."""
