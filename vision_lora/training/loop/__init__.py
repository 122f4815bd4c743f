"""The training loop, and what makes its steps cheap."""
