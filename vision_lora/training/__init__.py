"""Training: one loop for adapters and for full fine-tuning."""
