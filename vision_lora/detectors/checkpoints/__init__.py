"""Checkpoints: from a file or a name to a network, without running code from a file."""
