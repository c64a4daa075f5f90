"""Guards of a trial: what stops a version whose loss is good on the whole: harmed slices, broken and slow answers.

All of them together are wrong, ever, with half of the trial's alpha (`TrialSettings.guards`). Their evidence is carried
on from stage to stage.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from tidemill.steward.betting import MeanEvidence
from tidemill.steward.losses import broken
from tidemill.steward.policy import TrialSettings

SLICES = 50
"""Slices that are watched, in the order in which they turn up; alpha is shared among so many."""


@dataclass(kw_only=True, slots=True)
class Guards:
    """The evidence of one stage, and what the stages before have won.

    Attributes:
        reach: differences lie in [−reach, reach].
        slices: evidence that a slice's mean difference is above the slice margin, by "column=value".
        won: log evidence of each slice in the stages before.
        broken, slow: evidence that more of its answers than allowed have no finite number, or are slow (as canary).
    """

    rules: TrialSettings
    reach: float
    broken: MeanEvidence
    slow: MeanEvidence
    slices: dict[str, MeanEvidence] = field(default_factory=dict)
    won: dict[str, float] = field(default_factory=dict)

    @classmethod
    def begin(cls, rules: TrialSettings, reach: float, carried: Mapping[str, Any] | None = None) -> "Guards":
        """carried: `carried()` of the stage before."""
        one = cls(
            rules=rules,
            reach=reach,
            broken=MeanEvidence(mean=rules.broken_share, rises=True),
            slow=MeanEvidence(mean=rules.slow_share, rises=True),
        )
        if carried is not None:
            one.restore({"slices": {}, **carried})
        return one

    def take_slice(self, name: str, differences: np.ndarray) -> None:
        """Of slices beyond the first `SLICES`, none is kept."""
        known = self.won.keys() | self.slices.keys()
        if name not in known and len(known) >= SLICES:
            return
        if name not in self.slices:
            fresh = MeanEvidence(mean=self.rules.slice_margin, rises=True, low=-self.reach, high=self.reach)
            fresh.carried = np.asarray(self.won.get(name, 0.0))
            self.slices[name] = fresh
        self.slices[name].update(differences)

    def take_answers(self, rows: pl.DataFrame, *, timed: bool) -> None:
        """Answers of the version on trial. timed: users waited for them."""
        self.broken.update(broken(rows))
        if timed:
            self.slow.update((rows["latency_us"] > self.rules.slow_ms * 1000).to_numpy().astype(np.float64))

    @property
    def verdict(self) -> str:
        """What is shown to do harm; "" where nothing is."""
        rules = self.rules
        thresholds = {name: -np.log(alpha) for name, alpha in rules.guards.items()}
        if float(self.broken.log_e) >= thresholds["broken"]:
            return f"more than {rules.broken_share:.2%} of its answers have no finite number"
        if float(self.slow.log_e) >= thresholds["slow"]:
            return f"more than {rules.slow_share:.1%} of its answers took over {rules.slow_ms:g} ms"
        for name, one in self.slices.items():
            if float(one.log_e) >= thresholds["slices"] + np.log(SLICES):
                return f"records with {name} are harmed by more than {rules.slice_margin:g}"
        return ""

    def carried(self) -> dict[str, Any]:
        """What the next stage begins with, as JSON holds it."""
        won = {name: float(one.log_e) for name, one in self.slices.items()}
        return {"won": {**self.won, **won}, "broken": self.broken.state(), "slow": self.slow.state()}

    def state(self) -> dict[str, Any]:
        """As JSON holds it."""
        slices = {name: one.state() for name, one in self.slices.items()}
        return {"slices": slices, "won": self.won, "broken": self.broken.state(), "slow": self.slow.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.slices = {name: MeanEvidence(**one) for name, one in state["slices"].items()}
        self.won = dict(state["won"])
        self.broken, self.slow = MeanEvidence(**state["broken"]), MeanEvidence(**state["slow"])


def slices_of(rows: pl.DataFrame, columns: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Each slice's name and which of the rows are in it [rows]; columns that no row has are passed over."""
    fields = rows.schema["inputs"]
    for column in columns:
        if not isinstance(fields, pl.Struct) or column not in fields.to_schema():
            continue
        values = rows["inputs"].struct.field(column).cast(pl.String).fill_null("missing")
        for value in values.unique(maintain_order=True):
            yield f"{column}={value}", (values == value).to_numpy()
