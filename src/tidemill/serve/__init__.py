"""A bundle behind HTTP: predictor, protocol, Ray Serve (no torch, lightning, hydra or wandb)."""
