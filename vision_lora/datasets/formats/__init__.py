"""Formats: one file each, from what stands on a disk to samples."""
