"""A run from outside: its folder, its state, its processes, and how it can end."""
