"""Trainers: what a cell trains with, ours or another library's."""
