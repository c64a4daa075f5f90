"""What a model gets to know of the data when it is built."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInputs:
    """Shapes and the training split's numeric features.

    numeric_BN: prepared numeric features of the training split (float32), for the bins of
        piecewise-linear embeddings (a sample of rows is enough).
    cardinalities: number of codes of each categorical feature; codes are 0 … cardinality − 1.
    outputs: K.
    """

    numeric_BN: torch.Tensor
    cardinalities: tuple[int, ...]
    outputs: int
