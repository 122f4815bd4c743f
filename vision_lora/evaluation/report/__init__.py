"""The report of an evaluation: one page, with JSON and CSV beside it."""
