"""The training loop, its data path, and what tracks and ranks runs."""
