"""A check of the data, as it would stand in `CHECKS` of src/tidemill/data/column_checks.py."""

from collections.abc import Iterator

import polars as pl

from tidemill.data.findings import Finding, Severity
from tidemill.data.tables import Tables, named


def negative(tables: Tables) -> Iterator[Finding]:
    """Numbers that are positive nearly always and negative now and then are often typing errors."""
    for name in named(tables.schema.inputs, tables.train):
        values = tables.train[name]
        if values.dtype != pl.Float64:
            continue
        rows = int((values < 0).sum())
        share = rows / max(values.len(), 1)
        if 0 < share <= 0.01:
            yield Finding(
                check="negative",
                severity=Severity.WARNING,
                column=name,
                message=f"{name!r} is negative in {rows:,} training rows and in no others",
                rows=rows,
                share=share,
                remedy=f"mend them, or set data.quality.ranges.{name}, so that they are set aside",
            )
