"""Small networks, splits and settings for the tests of the training room (importable from spawned processes)."""

from typing import Any

import torch
from torch import nn

from tidemill.settings import Accelerator, ClassWeights, Precision, Profiler, TrainingSettings
from tidemill.training.tensors import Tensors


class Network(nn.Module):
    """Two numeric features and one category of three to one hidden layer."""

    def __init__(self, *, outputs: int = 1, dropout: float = 0.0, width: int = 8, batch_norm: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(3, 2)
        self.layers = nn.Sequential(
            nn.Linear(4, width),
            nn.BatchNorm1d(width) if batch_norm else nn.Identity(),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, outputs),
        )

    def forward(self, numeric_BN: torch.Tensor, categorical_BC: torch.Tensor) -> torch.Tensor:
        joined = torch.cat([numeric_BN, self.embedding(categorical_BC[:, 0])], dim=1)
        logits_BK: torch.Tensor = self.layers(joined)
        return logits_BK[:, None]


def network(**options: Any) -> Network:
    torch.manual_seed(0)
    return Network(**options)


def split(rows: int, seed: int = 0, *, weight: bool = False, classes: int = 0) -> Tensors:
    """Binary, or multiclass with `classes`."""
    generator = torch.Generator().manual_seed(seed)
    numeric = torch.randn(rows, 2, generator=generator)
    categorical = torch.randint(0, 3, (rows, 1), generator=generator)
    score = numeric[:, 0] + categorical[:, 0] - 1 + torch.randn(rows, generator=generator)
    target = (score * 2).long().clamp(0, classes - 1) if classes else (score > 0).float()
    return Tensors(
        numeric=numeric,
        categorical=categorical,
        target=target,
        weight=torch.rand(rows, generator=generator) if weight else None,
    )


def settings(**changes: Any) -> TrainingSettings:
    values: dict[str, Any] = {
        "max_epochs": 3,
        "max_minutes": None,
        "batch_size": 32,
        "learning_rate": 0.01,
        "weight_decay": 0.001,
        "warmup_epochs": 0.5,
        "cosine": True,
        "gradient_clip": 1.0,
        "patience": 10,
        "class_weights": ClassWeights.NONE,
        "accelerator": Accelerator.CPU,
        "devices": 1,
        "precision": Precision.AUTO,
        "compile": False,
        "threads": 1,
        "progress": False,
        "resume": None,
        "warm_start": None,
        "overfit_batches": None,
        "profiler": Profiler.NONE,
    }
    return TrainingSettings(**{**values, **changes})
