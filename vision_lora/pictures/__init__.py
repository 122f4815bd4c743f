"""Pictures and videos, read, written and drawn on, and the boxes that are found in them."""
