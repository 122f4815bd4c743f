"""Trackers that people already use: one file each, through its own library; `aside` keeps them out of a run's way."""
