"""Detectors: pretrained networks with what is needed to feed them and to read them."""
