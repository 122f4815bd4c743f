"""Batches: samples opened, kept, augmented, mixed and stacked for training and evaluation."""
