"""A classifier that tells two sets of rows apart: logistic regression on bins, and on those pairs that differ most.

Columns come as codes, the numbers of their cells (`profile.cells`). Of a numeric column, the rank of a bin and the
square of it are features; of a categorical one, whether a value is one of the most frequent. Products of two columns'
features show what no single column does; of the thousands there are, those whose means differ most are taken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidemill.data.profiles.profile import cells
from tidemill.data.profiles.variation import cell_numbers
from tidemill.settings import Kind

_CATEGORIES = 3
_SINGLE, _PAIRS = 16, 24
_RIDGE, _STEPS = 20.0, 6


@dataclass(frozen=True, slots=True)
class Features:
    """What rows are seen by: tables [features, 256] from the codes of `columns` to values of mean 0 and variance 1."""

    names: tuple[str, ...]
    columns: np.ndarray
    tables: np.ndarray

    @classmethod
    def of(cls, profile: Mapping[str, Any]) -> "Features":
        """profile: entries by column, in the order of the codes."""
        names, columns, tables = [], [], []
        for number, (name, entry) in enumerate(profile.items()):
            counts = cells(entry).astype(np.float64)
            for values in _values(entry, counts):
                mean = counts @ values / max(counts.sum(), 1)
                spread = np.sqrt(counts @ np.square(values - mean) / max(counts.sum(), 1))
                if spread > 0:
                    table = np.zeros(256, dtype=np.float32)
                    table[: len(values)] = (values - mean) / spread
                    names.append(name)
                    columns.append(number)
                    tables.append(table)
        return cls(tuple(names), np.array(columns, dtype=np.int64), np.array(tables, np.float32).reshape(-1, 256))

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        """Values [rows, features]."""
        return np.stack([table[codes[:, c]] for table, c in zip(self.tables, self.columns, strict=True)], axis=1)


@dataclass(frozen=True, slots=True)
class Classifier:
    """Scores of rows: the larger, the likelier of the second set. pairs: features that are multiplied [pairs, 2]."""

    single: np.ndarray
    pairs: np.ndarray
    weights: np.ndarray

    @classmethod
    def fit(cls, first: np.ndarray, second: np.ndarray, columns: np.ndarray) -> "Classifier":
        """Tell rows of the second set from those of the first, both [rows, features]; each set weighs the same."""
        single = _most(np.abs(_difference(first, second)), _SINGLE)
        left, right = np.triu_indices(first.shape[1], 1)
        apart = columns[left] != columns[right]
        left, right = left[apart], right[apart]
        chosen = _most(np.abs(_pair_differences(first, second)[left, right]), _PAIRS)
        pairs = np.stack([left[chosen], right[chosen]], axis=1)
        empty = cls(single, pairs, np.zeros(0))
        design = np.concatenate([empty._design(first), empty._design(second)])
        target = np.repeat([0.0, 1.0], [len(first), len(second)])
        weight = np.repeat([0.5 / len(first), 0.5 / len(second)], [len(first), len(second)]) * len(target)
        return cls(single, pairs, _logistic(design, target, weight))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Scores [rows]."""
        return np.asarray(self._design(values) @ self.weights)

    def names(self, features: Sequence[str], number: int) -> list[str]:
        """What tells most: columns, or two of them."""
        every = [features[i] for i in self.single] + [f"{features[i]} with {features[j]}" for i, j in self.pairs]
        order = np.argsort(-np.abs(self.weights[1:]), kind="stable")
        return list(dict.fromkeys(every[index] for index in order))[:number]

    def _design(self, values: np.ndarray) -> np.ndarray:
        ones = np.ones((len(values), 1))
        products = values[:, self.pairs[:, 0]] * values[:, self.pairs[:, 1]]
        return np.concatenate([ones, values[:, self.single], products], axis=1, dtype=np.float64)


def codes(frame: Any, profile: Mapping[str, Any]) -> np.ndarray:
    """The number of each value's cell [rows, columns]; columns that the frame lacks are missing."""
    found = [
        cell_numbers(frame[name], entry)[0] if name in frame.columns else np.full(frame.height, len(cells(entry)) - 1)
        for name, entry in profile.items()
    ]
    return np.stack(found, axis=1).astype(np.uint8) if found else np.zeros((frame.height, 0), dtype=np.uint8)


def _values(entry: Mapping[str, Any], counts: np.ndarray) -> list[np.ndarray]:
    """One or more figures of every cell; of a missing value, that which the mean has."""
    if entry["kind"] == Kind.BOOLEAN:
        return [np.array([0.0, 1.0, counts[1] / max(counts[:2].sum(), 1)])]
    if entry["kind"] == Kind.CATEGORICAL:
        named = len(entry["categories"])
        few = 1 if np.count_nonzero(counts[:-1]) == 2 else min(_CATEGORIES, named)
        return [np.eye(len(counts))[index] for index in range(few)]
    present = counts[:-1]
    rank = (np.cumsum(present) - present / 2) / max(present.sum(), 1) - 0.5
    square = np.square(rank)
    return [np.append(rank, 0.0), np.append(square, present @ square / max(present.sum(), 1))]


def _difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Difference of means in standard errors [features]."""
    noise = first.var(axis=0) / len(first) + second.var(axis=0) / len(second)
    return np.asarray((second.mean(axis=0) - first.mean(axis=0)) / np.sqrt(noise + 1e-12))


def _pair_differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The same of all products [features, features]."""
    means, noise = [], 0.0
    for values in (first, second):
        mean, squares = (part.T @ part / len(values) for part in (values, np.square(values)))
        means.append(mean)
        noise = noise + np.maximum(squares - np.square(mean), 1e-6) / len(values)
    return np.asarray((means[1] - means[0]) / np.sqrt(noise))


def _most(figures: np.ndarray, number: int) -> np.ndarray:
    return np.argsort(-figures, kind="stable")[:number]


def _logistic(design: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weights by Newton's method, all but the first held small."""
    ridge = np.full(design.shape[1], _RIDGE)
    ridge[0] = 1e-6
    found = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(design @ found, -30, 30)))
        slope = design.T @ (weight * (target - chance)) - ridge * found
        bend = (design * (weight * chance * (1 - chance))[:, None]).T @ design + np.diag(ridge)
        found = found + np.linalg.solve(bend, slope)
    return found
