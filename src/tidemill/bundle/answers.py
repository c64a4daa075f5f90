"""Names and types of what a model answers, for each objective.

| objective | answers |
|---|---|
| binary, multiclass | `probabilities` float32 [N, classes], `label` string [N] |
| regression | `value`, `lower`, `upper` float32 [N] |
"""

import numpy as np

from tidemill.settings import Objective

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
