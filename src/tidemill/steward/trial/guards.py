"""Guards of a stage of a trial: what stops a version whose loss is good on the whole.

Harmed slices, and broken and slow answers of the version on trial. All of them together are wrong, in one stage, with
the alpha that `TrialSettings.guards` gives them. They begin anew with each stage: what was good in shadow is no credit
for harm to users.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from tidemill.steward.evidence.betting import MeanEvidence
from tidemill.steward.losses import broken
from tidemill.steward.policy import TrialSettings
from tidemill.steward.records import first_of_requests

SLICES = 50
"""Slices that are watched, in the order in which they turn up; alpha is shared among so many."""


@dataclass(kw_only=True, slots=True)
class Mean:
    """A plain mean; 0 of no values."""

    total: float = 0.0
    count: int = 0

    def add(self, values: np.ndarray) -> None:
        self.total += float(values.sum())
        self.count += len(values)

    def __float__(self) -> float:
        return self.total / max(self.count, 1)


@dataclass(kw_only=True, slots=True)
class Slice:
    """Evidence that its mean difference is above the margin, and the plain mean of its differences."""

    evidence: MeanEvidence
    mean: Mean = field(default_factory=Mean)


@dataclass(kw_only=True, slots=True)
class Guards:
    """The evidence of one stage.

    Attributes:
        reach: differences lie in [−reach, reach].
        broken: evidence that more of its answers than allowed have no finite number.
        slow: evidence that more of its requests than allowed, of those that users waited for, are slow.
        slices: by "column=value".
        last: the request of the latest answer.
    """

    reach: float
    broken: MeanEvidence
    slow: MeanEvidence
    slices: dict[str, Slice] = field(default_factory=dict)
    last: str = ""

    def take_slice(self, rules: TrialSettings, name: str, differences: np.ndarray, counted: np.ndarray) -> None:
        """counted: what counts of the differences, where a period is one. Of slices beyond `SLICES`, none is kept."""
        if name not in self.slices:
            if len(self.slices) >= SLICES:
                return
            evidence = MeanEvidence(mean=rules.slice_margin, rises=True, low=-self.reach, high=self.reach)
            self.slices[name] = Slice(evidence=evidence)
        one = self.slices[name]
        one.evidence.update(counted)
        one.mean.add(differences)

    def take_answers(self, rules: TrialSettings, rows: pl.DataFrame, *, timed: bool) -> None:
        """Answers of the version on trial, in order of time. timed: users waited for them."""
        self.broken.update(broken(rows))
        if timed:
            first = first_of_requests(rows, self.last)
            late = (rows["latency_us"] > rules.slow_ms * 1000).to_numpy().astype(np.float64)
            self.slow.update(late[first])
            self.last = rows["request"][-1] if rows.height else self.last

    def verdict(self, rules: TrialSettings) -> str:
        """What is shown to do harm; "" where nothing is."""
        thresholds = {name: -np.log(alpha) for name, alpha in rules.guards.items()}
        if float(self.broken.log_e) >= thresholds["broken"]:
            return f"more than {rules.broken_share:.2%} of its answers have no finite number"
        if float(self.slow.log_e) >= thresholds["slow"]:
            return f"more than {rules.slow_share:.1%} of its answers took over {rules.slow_ms:g} ms"
        for name, one in self.slices.items():
            shown = float(one.evidence.log_e) >= thresholds["slices"] + np.log(SLICES)
            if shown and float(one.mean) > rules.slice_margin:  # the plain mean says so too, where means are cut
                return f"records with {name} are harmed by more than {rules.slice_margin:g}"
        return ""


def slices_of(rows: pl.DataFrame, columns: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Each slice's name and which of the rows are in it [rows]; columns that no row has are passed over."""
    fields = rows.schema["inputs"]
    for column in columns:
        if not isinstance(fields, pl.Struct) or column not in fields.to_schema():
            continue
        values = rows["inputs"].struct.field(column).cast(pl.String).fill_null("missing")
        for value in values.unique(maintain_order=True):
            yield f"{column}={value}", (values == value).to_numpy()
