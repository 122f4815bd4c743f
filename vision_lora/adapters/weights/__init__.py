"""Weights: how a layer's effective weight is made from its factors, and the gradients back."""
