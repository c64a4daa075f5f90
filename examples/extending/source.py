"""A source of one's own: a table made from a seed. A real one would read from wherever the records are.

    python train.py +experiment=table name=waves data.source=examples.extending.source data.target=high \
        data.options.rows=2000
"""

import numpy as np
import polars as pl

from tidemill.settings import DataSettings


def read(settings: DataSettings) -> pl.LazyFrame:
    """The table, lazily: what is selected and limited afterwards need not be made."""
    rows = int(settings.options.get("rows", 1000))
    random = np.random.default_rng(0)
    phase, noise = random.uniform(0, 6.28, rows), random.normal(0, 0.3, rows)
    high = np.sin(phase) + noise > 0
    return pl.LazyFrame({"phase": phase, "station": random.choice(["north", "south"], rows), "high": high})
