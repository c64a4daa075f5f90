"""A check of the data, as it would stand in `CHECKS` of src/tidemill/data/checks/column_checks.py."""

from collections.abc import Iterator

from tidemill.data.checks.findings import Finding, Severity
from tidemill.data.tables import Tables
from tidemill.settings import Kind


def negative(tables: Tables) -> Iterator[Finding]:
    """Numbers that are positive nearly always and negative now and then are often typing errors."""
    for name in tables.inputs(Kind.NUMERIC):
        values = tables.train[name]
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
