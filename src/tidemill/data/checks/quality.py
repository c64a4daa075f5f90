"""Data quality: every check, with reasons and counts. Errors stop the run, warnings appear in the report.

A check is a function from `Tables` to findings. To add one, write it and put it into its file's `CHECKS`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import polars as pl

from tidemill.data.checks import (
    column_checks,
    joint,
    label_times,
    personal,
    quarantine,
    repeats,
    row_checks,
    sentinels,
    shifts,
)
from tidemill.data.checks.findings import Finding, Severity
from tidemill.data.checks.label_times import LabelTimes
from tidemill.data.schema import Schema
from tidemill.data.splitting.splits import Splits
from tidemill.data.tables import Tables, with_null
from tidemill.data.target import Target
from tidemill.data.typed import TypedTable
from tidemill.errors import QualityError
from tidemill.settings import DataSettings

CHECKS: tuple[Callable[[Tables], Iterator[Finding]], ...] = (
    *row_checks.CHECKS,
    repeats.check,
    *column_checks.CHECKS,
    sentinels.check,
    *shifts.CHECKS,
    joint.check,
    personal.check,
)

SHOWN = 10
"""Errors that the message lists; a table of thousands of columns can have as many."""


def check(
    splits: Splits,
    read: Mapping[str, TypedTable],
    schema: Schema,
    settings: DataSettings,
    target: Target | None = None,
    late: LabelTimes | None = None,
) -> list[Finding]:
    """All findings, errors first. The test split is inspected, which it records, and stays sealed.

    Args:
        read: the tables as they were read, with the rows that the schema's rules kept out, by the setting that named
            each.
        late: what is known of the moments of labels, where a column says them.
    """

    def findings(test: pl.DataFrame) -> list[Finding]:
        parts = {"train": splits.train, "validation": splits.validation, "test": test}
        tables = Tables(
            **{name: with_null(part) for name, part in parts.items()},
            quarantined=tuple(quarantine.count(read, schema, settings, parts)),
            schema=schema,
            settings=settings,
            target=target,
        )
        return [finding for run in CHECKS for finding in run(tables)]

    found = splits.test.inspect("data checks", findings)
    found += [] if late is None else label_times.check(late, settings)
    return sorted(found, key=lambda finding: list(Severity).index(finding.severity))


def stop_on_errors(findings: Sequence[Finding]) -> None:
    """Go on only without errors.

    Raises:
        QualityError: lists every finding of severity error with its remedy.
    """
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    if not errors:
        return
    if len(errors) == 1:
        observed, remedy = errors[0].message, errors[0].remedy
    else:
        observed = "".join(f"\n  {error.message}\n    Remedy: {error.remedy}" for error in errors[:SHOWN])
        observed += f"\n  and {len(errors) - SHOWN:,} more like these" if len(errors) > SHOWN else ""
        remedy = "see each of them"
    raise QualityError(
        f"The data must pass every check ({len(errors)} failed: {', '.join(sorted({e.check for e in errors}))})",
        observed=observed,
        remedy=remedy,
    )
