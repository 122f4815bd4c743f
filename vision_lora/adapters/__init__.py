"""Adapters: low-rank changes of weights, from one layer to one file. Knows no detector."""
