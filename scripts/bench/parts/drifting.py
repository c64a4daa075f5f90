"""Tables whose columns do not drift, or by how much they do: the same for ours and for a peer, from NumPy alone."""

import numpy as np

NUMERIC, CATEGORICAL = 35, 15
SIZES = tuple(5 * 2 ** min(index, 8) for index in range(CATEGORICAL))
"""Values that each categorical column has."""


def table(rows: int, seed: int) -> dict[str, np.ndarray]:
    """50 columns: normal, skewed and whole numbers; texts of 5 to 1,280 values, some far more frequent than others."""
    rng = np.random.default_rng(seed)
    columns: dict[str, np.ndarray] = {}
    for index in range(NUMERIC):
        values = rng.normal(size=rows)
        shapes = (values, np.exp(values), np.round(10 * values))
        columns[f"number {index}"] = shapes[index % len(shapes)]
    for index, size in enumerate(SIZES):
        columns[f"text {index}"] = np.char.add("value ", (rng.zipf(1.3, rows) % size).astype(str))
    return columns
