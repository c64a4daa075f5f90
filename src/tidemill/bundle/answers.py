"""Names and types of what a model answers, for each objective; and answers as a table.

| objective | answers |
|---|---|
| binary, multiclass | `probabilities` float32 [N, classes], `label` string [N] |
| regression | `value`, `lower`, `upper` float32 [N] |
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tidemill.settings import Objective

if TYPE_CHECKING:
    import polars as pl

Answers = dict[str, np.ndarray]
"""Answer name → array of N rows; labels are object arrays of str."""


def network_outputs(objective: Objective) -> tuple[str, ...]:
    """What the torch module gives; labels are decoded behind it, in the graph."""
    return ("value", "lower", "upper") if objective is Objective.REGRESSION else ("probabilities",)


def names(objective: Objective) -> tuple[str, ...]:
    """All answers, in the order of the graph's outputs."""
    return network_outputs(objective) + (() if objective is Objective.REGRESSION else ("label",))


def tensor_name(answer: str, columns: tuple[str, ...]) -> str:
    """The graph output that holds an answer: its own name, unless a raw column is called so already."""
    name = answer
    while name in columns:
        name = f"answer_{name}"
    return name


def joined(parts: Sequence[Answers]) -> Answers:
    """The rows of all parts, or of raw rows by column, in order; at least one part."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def as_table(answers: Answers, classes: Sequence[str]) -> "pl.DataFrame":
    """Answers as columns: `label` and `probability_CLASS` for each class, or `value`, `lower` and `upper`.

    Args:
        classes: of the model; a regression has none.
    """
    import polars as pl

    if not classes:
        return pl.DataFrame(answers)
    probabilities = answers["probabilities"].T
    shares = {f"probability_{name}": probabilities[i].copy() for i, name in enumerate(classes)}
    return pl.DataFrame({"label": pl.Series(answers["label"], dtype=pl.String), **shares})
