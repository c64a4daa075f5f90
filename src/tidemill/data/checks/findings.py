"""What the data checks found."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import groupby

SHOWN = 5
"""Warnings of one check that the console shows; a table of thousands of columns can have as many."""


class Severity(StrEnum):
    ERROR = "error"  # stops the run
    WARNING = "warning"  # appears in the report
    INFO = "info"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One check's result: what, where, how much, and what to do about it.

    rows, share: the rows that it is about, and their share of those that were looked at (1 where it is about a whole
    column); other measures stand in the message.
    bars: what was found makes figures on the test split untrustworthy, so the gate refuses the version for it.
    """

    check: str
    severity: Severity
    column: str | None
    message: str
    rows: int
    share: float
    remedy: str
    bars: bool = False


def noticed(
    check: str, severity: Severity, column: str | None, rows: int, share: float, *, bars: bool = False
) -> "partial[Finding]":
    """What a check found; it becomes a finding when it is called with a message and a remedy."""
    return partial(Finding, check=check, severity=severity, column=column, rows=rows, share=share, bars=bars)


def lines(findings: Sequence[Finding]) -> Iterator[str]:
    """The warnings for the console, each with its remedy below it; of one check no more than a person reads."""
    warnings = [finding for finding in findings if finding.severity is Severity.WARNING]
    counts, shown = Counter(finding.check for finding in warnings), Counter[str]()
    chosen = []
    for finding in warnings:
        shown[finding.check] += 1
        if shown[finding.check] <= SHOWN:
            chosen.append(finding)
    for remedy, alike in groupby(chosen, key=lambda finding: finding.remedy):
        yield "\n".join([*(f"warning: {finding.message}" for finding in alike), f"  what to do: {remedy}"])
    for check, count in counts.items():
        if count > SHOWN:
            yield f"warning: {count - SHOWN:,} more of the check {check.replace('_', ' ')!r}; the report lists all"
