"""The report: what a comparison found, in words, tables, plots and pages."""
