"""A bundle behind HTTP and gRPC (no torch, lightning, hydra, wandb): wire, hooks, answering, door, replica, on_ray."""
