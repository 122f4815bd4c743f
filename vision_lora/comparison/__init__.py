"""Methods side by side on one dataset: which is best, by how much, and what each costs."""
