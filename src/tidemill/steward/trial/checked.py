"""A trial whose verdict stands without the records of any one client too, and not on labels that contradict each other.

One client that labels its own answers falsely moves the difference that a trial sees, and with it any evidence. So the
same trial runs once more for each client, without that client's records. Whichever client is dishonest, the trial
without it has honest records only, and errs with a probability of at most alpha; as all of them must agree, so does the
verdict. A client with more than `trial.client_share` of the records is believed: without it there would be no trial.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import polars as pl

from tidemill.errors import listed
from tidemill.steward.evidence.paired import Verdict
from tidemill.steward.losses import Loss
from tidemill.steward.policy import LabelSettings, TrialSettings
from tidemill.steward.trial import trial
from tidemill.steward.trial.comparison import Comparison
from tidemill.steward.trial.trial import Trial
from tidemill.steward.watch import Reading, Severity

GROUPS = 20
"""From the 21st client on, each is left out together with one that came before: this bounds the work."""
_NO_KEY = ""
"""Stands for whoever asked without a key."""


@dataclass(kw_only=True, slots=True)
class Carried(trial.Carried):
    """The same of a checked trial."""

    without: dict[str, trial.Carried] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)


@dataclass(kw_only=True, slots=True)
class State:
    """All that a checked trial keeps.

    Attributes:
        whole: of all records.
        without: the same without the records of one group of clients each.
        groups: of each client, by name, in the order in which they came.
        labelled, contradicted: records that were taken, and those for which labels of different content have come.
    """

    whole: trial.State
    without: dict[str, trial.State] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    labelled: int = 0
    contradicted: int = 0


class CheckedTrial:
    """The trial of all records, and beside it the same trial without the records of each client.

    carried: of the stage before, whose evidence goes on; only a canary's does.
    """

    def __init__(
        self,
        rules: TrialSettings,
        labels: LabelSettings,
        comparison: Comparison,
        losses: Loss,
        carried: Carried | None = None,
    ) -> None:
        self.rules, self.labels, self.comparison, self._losses = rules, labels, comparison, losses
        self.state = State(whole=Trial.begin(rules, comparison, losses, carried).state)
        for group, part in carried.without.items() if carried is not None else ():
            self.state.without[group] = Trial.begin(rules, comparison, losses, part).state
        self.state.groups |= carried.groups if carried is not None else {}

    @property
    def whole(self) -> Trial:
        return self._trial(self.state.whole)

    @property
    def without(self) -> dict[str, Trial]:
        return {group: self._trial(state) for group, state in self.state.without.items()}

    def _trial(self, state: trial.State) -> Trial:
        return Trial(rules=self.rules, comparison=self.comparison, losses=self._losses, state=state)

    def take(self, rows: pl.DataFrame, shadows: pl.DataFrame) -> None:
        """Labelled records in order of time, and what the challenger answered to them in shadow, in the same order."""
        self.state.labelled += rows.height
        self.state.contradicted += int(rows["contradicted"].sum())
        if self.rules.client_share is not None:
            client = rows["client"].fill_null(_NO_KEY)
            for name in client.unique(maintain_order=True):
                self._meet(name)
            for group, without in self.without.items():
                others = rows.filter(~client.is_in(self._clients(group)))
                without.take(others, shadows.join(others.select("id"), on="id", how="semi", maintain_order="left"))
        self.whole.take(rows, shadows)

    def close(self) -> None:
        """The period is over: what was taken of it becomes evidence."""
        for each in (self.whole, *self.without.values()):
            each.close()

    @property
    def taken(self) -> int:
        """Labelled records of this stage."""
        return self.whole.taken

    def verdict(self) -> tuple[Verdict, str]:
        """What is shown and may be acted upon, and the guard that was broken, if any ("" otherwise)."""
        verdict, guard = self.whole.verdict()
        if self._doubt(verdict):
            return (Verdict.INCONCLUSIVE if self.whole.at_end else Verdict.UNDECIDED), ""
        return verdict, guard

    def figures(self) -> dict[str, Any]:
        """The numbers behind a decision, as JSON holds them. doubt: why what is shown is not acted upon, or null."""
        return {**self.whole.figures(), "doubt": self._doubt(self.whole.verdict()[0]) or None}

    def readings(self) -> list[Reading]:
        """One for each thing that could be shown, and one where it is shown and in doubt."""
        doubt = self._doubt(self.whole.verdict()[0])
        reading = Reading(
            check="trial held",
            subject=f"{self.comparison.tried} against {self.comparison.other}, {self.comparison.stage}",
            severity=Severity.ADVICE,
            says=doubt,
            remedy="look at these labels, correct or stop what sends wrong ones, and wait for more records; the policy "
            "says how much doubt there may be: trial.client_share, labels.most_contradicted",
            log_e=1.0,
            log_threshold=1.0,
            effect=1.0,
            unit="verdicts in doubt",
        )
        return [*self.whole.readings(), *([reading] if doubt else [])]

    def carried(self) -> Carried:
        """What the next stage goes on with."""
        whole = {each.name: getattr(self.state.whole.carried, each.name) for each in fields(trial.Carried)}
        without = {group: state.carried for group, state in self.state.without.items()}
        return Carried(**whole, without=without, groups=self.state.groups)

    def _meet(self, name: str) -> None:
        """What was taken before a client came is without it."""
        groups, without = self.state.groups, self.state.without
        if name not in groups:
            group = groups[name] = str(len(groups) % GROUPS)
            without.setdefault(group, copy.deepcopy(self.state.whole))

    def _clients(self, group: str) -> list[str]:
        return [name for name, its in self.state.groups.items() if its == group]

    def _doubt(self, verdict: Verdict) -> str:
        """Why a verdict is not acted upon; "": it is."""
        if verdict in (Verdict.UNDECIDED, Verdict.INCONCLUSIVE):
            return ""
        shown = f"Version {self.comparison.tried} is shown to be {verdict}"
        most = self.labels.most_contradicted
        state = self.state
        if most is not None and state.contradicted > most * state.labelled:
            return (
                f"{shown}, but {state.contradicted:,} of {state.labelled:,} records have labels that contradict each "
                f"other, more than {most:.1%}, so it is not decided."
            )
        against = [f"{who} ({share:.1%})" for group, who, share in self._distrusted() if self._else(group, verdict)]
        if against:
            return f"{shown}, but not without the records of one client, so it is not decided: {listed(against)}."
        return ""

    def _else(self, group: str, verdict: Verdict) -> bool:
        return self.without[group].verdict()[0] is not verdict

    def _distrusted(self) -> Iterator[tuple[str, str, float]]:
        """Groups that the verdict must stand without, who is in them, and their share of the records."""
        limit = self.rules.client_share
        for group, without in self.without.items() if limit is not None else ():
            share = 1 - without.records / max(self.whole.records, 1)
            if limit is not None and 0 < share <= limit:
                names = [name or "requests without a key" for name in self._clients(group)]
                yield group, " with ".join(names[:3]), share
