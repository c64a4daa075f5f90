"""The training loop, its data path, and what tracks and ranks runs."""

from pathlib import Path

CHECKPOINT = Path("checkpoints") / "last.ckpt"
"""Inside a run's folder; written whole after each epoch."""
