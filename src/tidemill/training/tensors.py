"""What a network is trained on: one split as four tensors.

Shape suffixes: B rows, N numeric features, C categorical features.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from tidemill.settings import ClassWeights, Objective


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensors:
    """One split, or a batch of it.

    Attributes:
        numeric: float32 [B, N].
        categorical: int64 [B, C], codes.
        target: [B]; class index (int64, for binary float32 too), or float32 for regression, already standardised.
        weight: float32 [B], 0 or greater; None counts every row once.
    """

    numeric: torch.Tensor
    categorical: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor | None

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, rows: slice | torch.Tensor) -> "Tensors":
        """A batch: a view for a slice, a copy for an index (int64)."""
        if isinstance(rows, slice):
            return self._each(lambda tensor: tensor[rows])
        return self._each(lambda tensor: tensor.index_select(0, rows))  # 4 times as fast as tensor[rows]

    @property
    def total(self) -> torch.Tensor:
        """Sum of the weights, float32 on the split's device."""
        if self.weight is None:
            return torch.tensor(float(len(self)), device=self.target.device)
        return self.weight.sum()

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._tensors().values())

    def to(self, device: torch.device) -> "Tensors":
        """On `device`; copies from pinned memory do not wait."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> "Tensors":
        """In page-locked host memory, which a GPU copies from without waiting."""
        return self._each(lambda tensor: tensor.pin_memory())

    def digest(self) -> str:
        """A fingerprint of shapes and values: tells whether a resumed run sees the same data."""
        content = hashlib.blake2b(digest_size=16)
        for name, tensor in self._tensors().items():
            content.update(f"{name}{list(tensor.shape)}{tensor.dtype}".encode())
            content.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
        return content.hexdigest()

    def _tensors(self) -> dict[str, torch.Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Tensors":
        return Tensors(
            numeric=change(self.numeric),
            categorical=change(self.categorical),
            target=change(self.target),
            weight=None if self.weight is None else change(self.weight),
        )


def weighted(train: Tensors, validation: Tensors, rule: ClassWeights, objective: Objective) -> tuple[Tensors, Tensors]:
    """Class weights as row weights, so that nothing later knows of classes.

    balanced: every class counts the same in the sum over the training split; the mean weight stays 1
    (scikit-learn's `class_weight="balanced"`). Validation rows get the weights of the training split's classes.
    """
    if rule is ClassWeights.NONE or objective is Objective.REGRESSION:
        return train, validation
    classes = max(int(split.target.max()) for split in (train, validation)) + 1
    mass = torch.bincount(train.target.long(), weights=train.weight, minlength=classes)
    present = int((mass > 0).sum())
    factor = torch.where(mass > 0, mass.sum() / (present * mass), torch.ones_like(mass)).float()
    return _times(train, factor), _times(validation, factor)


def _times(split: Tensors, factor: torch.Tensor) -> Tensors:
    weight = factor[split.target.long()]
    return replace(split, weight=weight if split.weight is None else weight * split.weight)
