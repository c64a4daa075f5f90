"""A trial: what labelled records say about two versions, in shadow, as canary, and after the change.

What counts as one is a record, or the mean of a period where records of a period are alike.

In shadow and on probation both answered the same records, and each is a pair. As canary each record met one of them,
and is weighed by the inverse of the chance with which it did; evidence of the shadow stage is carried on (paired.py).

On probation the new champion is on trial, and the one it replaced answers in shadow: it is taken back where the new
one is shown to be worse by more than the margin.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from tidemill.ledger.record import Role
from tidemill.steward.evidence.bounds import MeanBounds
from tidemill.steward.evidence.paired import DifferenceEvidence, Verdict, restored, weighted_differences
from tidemill.steward.policy import TrialSettings, Unit
from tidemill.steward.trial import tosses
from tidemill.steward.trial.comparison import Comparison, Stage, question
from tidemill.steward.trial.guards import Guards, slices_of
from tidemill.steward.watch import Losses, Reading, Severity

_LABELLED = pl.any_horizontal(pl.selectors.starts_with("true_").is_not_null())


@dataclass(kw_only=True, slots=True)
class Trial:
    """The evidence of one stage.

    Attributes:
        evidence: about the tried version's loss minus the other's.
        guards: what else may stop it, in this stage.
        bounds: of the mean difference, scaled to [0, 1]; of this stage alone.
        shares: of the stages before, whose evidence is in it: at one of them keys would meet the same tosses again.
        earlier, taken: labelled records in the stages before and in this one.
        plain: sum and number of differences, in all stages that the evidence is of.
        losses_sum, met: of the tried version and of the other: sum of their losses, and of how many records.
        seen: tosses that a canary was judged by.
        open: differences of the present period, by slice ("": all of them).
    """

    rules: TrialSettings
    comparison: Comparison
    losses: Losses
    evidence: DifferenceEvidence
    guards: Guards
    bounds: MeanBounds
    centre: float = 0.5
    shares: list[float] = field(default_factory=list)
    earlier: int = 0
    taken: int = 0
    plain: list[float] = field(default_factory=lambda: [0.0, 0.0])
    losses_sum: list[float] = field(default_factory=lambda: [0.0, 0.0])
    met: list[int] = field(default_factory=lambda: [0, 0])
    seen: tosses.Seen = field(default_factory=tosses.Seen)
    open: dict[str, list[np.ndarray]] = field(default_factory=dict)

    @classmethod
    def begin(
        cls, rules: TrialSettings, comparison: Comparison, losses: Losses, carried: Mapping[str, Any] | None = None
    ) -> "Trial":
        """carried: `carried()` of the stage before, whose evidence goes on; only a canary's does."""
        reach = rules.reach if rules.unit is Unit.PERIOD else 1.0
        if comparison.stage is Stage.CANARY:
            # Cut to less, weighted differences of equal models would not be 0 on average.
            reach = 1 / min(comparison.share, 1 - comparison.share)
        one = cls(
            rules=rules,
            comparison=comparison,
            losses=losses,
            evidence=DifferenceEvidence(question=question(rules, comparison.stage), reach=reach),
            guards=Guards.begin(rules, reach),
            bounds=MeanBounds(alpha=rules.alpha),
        )
        if carried is not None and carried.get("asks") == one._asks and comparison.share not in carried["shares"]:
            one.shares, one.plain = list(carried["shares"]), list(carried["plain"])
            one.evidence = restored(one.evidence.question, carried["evidence"]).next_stage(reach=reach)
            one.centre, one.earlier = carried["centre"], carried["earlier"] + carried["taken"]
        return one

    def take(self, rows: pl.DataFrame, shadows: pl.DataFrame) -> None:
        """Labelled records in order of time, and what the challenger answered to them in shadow, in the same order."""
        if self.comparison.stage is Stage.CANARY:
            self._weigh(rows)
        else:
            self._pair(rows, shadows)
        if self.rules.unit is Unit.RECORD:
            self.close()

    def close(self) -> None:
        """The period is over: what was taken of it becomes evidence."""
        plain = {name: np.concatenate(parts) for name, parts in self.open.items()}
        self.open, counted = {}, plain
        if self.rules.unit is Unit.PERIOD:
            counted = {name: np.clip(part.mean(keepdims=True), -self.reach, self.reach) for name, part in plain.items()}
        for name, part in counted.items():
            if name:
                self.guards.take_slice(name, plain[name], part)
            else:
                self.evidence.update(part)
                self.bounds.update((part + self.reach) / (2 * self.reach))

    @property
    def reach(self) -> float:
        return self.evidence.reach

    @property
    def records(self) -> int:
        """In all stages."""
        return self.earlier + self.taken

    def verdict(self) -> tuple[Verdict, str]:
        """What is shown, and the guard that was broken, if any ("" otherwise); harm comes first."""
        rules, harm = self.rules, self.guards.verdict
        if harm:
            return Verdict.WORSE, harm
        if self.records < rules.minimum:
            return Verdict.UNDECIDED, ""
        for verdict in (Verdict.WORSE, Verdict.BETTER, Verdict.FUTILE):
            if self.evidence.shows(verdict) and self._agrees(verdict):
                return verdict, ""
        return (Verdict.INCONCLUSIVE if self.at_end else Verdict.UNDECIDED), ""

    @property
    def at_end(self) -> bool:
        """Whether it has had as many records as it may have."""
        return self.rules.maximum is not None and self.records >= self.rules.maximum

    def _agrees(self, verdict: Verdict) -> bool:
        """Whether the plain mean, of all stages that the evidence is of, says what means cut to `reach` have shown."""
        canary = self.comparison.stage is Stage.CANARY
        if self.rules.unit is Unit.RECORD or (canary and verdict is not Verdict.BETTER):
            return True  # nothing was cut
        mean, rises = self.evidence.question.nulls[verdict]
        plain = self._overall if verdict is Verdict.BETTER else self._mean()
        return plain > mean if rises else plain < mean

    @property
    def _overall(self) -> float:
        return self.plain[0] / max(self.plain[1], 1.0)

    def figures(self) -> dict[str, Any]:
        """The numbers behind a decision, in the units of the policy's metric, as JSON holds them."""
        lower, upper = self._interval()
        tried, other = (total / max(met, 1) for total, met in zip(self.losses_sum, self.met, strict=True))
        shown = self.losses.unscaled
        return {
            "stage": str(self.comparison.stage),
            "tried": self.comparison.tried,
            "against": self.comparison.other,
            "share": self.comparison.share,
            "records": self.taken,
            "records_in_all_stages": self.records,
            "units": self.evidence.count,
            "metric": self.losses.name,
            "tried_loss": shown(tried),
            "against_loss": shown(other),
            "difference": shown(self._mean()) - shown(0.0),
            "difference_in_all_stages": shown(self._overall) - shown(0.0),
            "lower": shown(lower) - shown(0.0),
            "upper": shown(upper) - shown(0.0),
            "log_e": {name: float(test.log_e) for name, test in self.evidence.tests.items()},
            "log_thresholds": self.evidence.thresholds,
        }

    def readings(self) -> list[Reading]:
        """One for each thing that could be shown."""
        about = self.figures()
        tried, other, stage, share = about["tried"], about["against"], about["stage"], about["share"]
        says = (
            f"{about['metric']} of version {tried} is {about['difference']:+.4g} against version {other}'s "
            f"({about['lower']:+.4g} to {about['upper']:+.4g}) on {self.taken:,} records, {stage}."
        )
        probation = stage == Stage.PROBATION
        remedies = {
            "better": "the gate decides: nothing to do",
            "worse": "it is taken back" if probation else "it is dropped",
            "futile": "it is dropped: the gain that was hoped for is not there",
        }
        return [
            Reading(
                check=f"trial {name}",
                subject=f"{tried} against {other}, {stage}{f' {share:g}' if share else ''}",
                severity=Severity.HARM if probation and name == "worse" else Severity.NEWS,
                says=says,
                remedy=remedies[name],
                log_e=about["log_e"][name],
                log_threshold=about["log_thresholds"][name],
                effect=about["difference"],
                unit=about["metric"],
            )
            for name in about["log_e"]
        ]

    def carried(self) -> dict[str, Any]:
        """What the next stage goes on with, as JSON holds it."""
        return {
            "evidence": self.evidence.state(),
            "centre": self.centre,
            "earlier": self.earlier,
            "taken": self.taken,
            "plain": list(self.plain),
            "asks": self._asks,
            "shares": [*self.shares, self.comparison.share],
        }

    @property
    def _asks(self) -> list[Any]:
        """What evidence for "better" is about: it is carried to a stage that asks the same."""
        scale = [float(self.losses.unscaled(loss)) for loss in (0.0, 1.0)]
        return [self.losses.name, *scale, self.evidence.question.nulls["better"][0]]

    def state(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            **self.carried(),
            "guards": self.guards.state(),
            "bounds": self.bounds.state(),
            "seen": self.seen.state(),
            "losses_sum": list(self.losses_sum),
            "met": list(self.met),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.evidence, self.bounds = restored(self.evidence.question, state["evidence"]), MeanBounds(**state["bounds"])
        self.guards.restore(state["guards"])
        self.centre, self.earlier, self.taken = state["centre"], state["earlier"], state["taken"]
        self.shares, self.plain = state["shares"][:-1], list(state["plain"])
        self.losses_sum, self.met = list(state["losses_sum"]), list(state["met"])
        self.seen = tosses.restored(state["seen"])

    def _pair(self, rows: pl.DataFrame, shadows: pl.DataFrame) -> None:
        champion = self.comparison.tried if self.comparison.stage is Stage.PROBATION else self.comparison.other
        mine = rows.filter(pl.col("version") == champion, _LABELLED)
        mine = mine.join(shadows.select("id"), on="id", how="semi", maintain_order="left")
        theirs = mine.select("id").join(shadows, on="id", how="left", maintain_order="left")
        if mine.is_empty():
            return
        self.taken += mine.height
        served, shadow = self.losses.of(mine), self.losses.of(theirs)
        probation = self.comparison.stage is Stage.PROBATION
        tried, other = (served, shadow) if probation else (shadow, served)
        self.guards.take_answers(mine if probation else theirs, timed=probation)
        differences = tried - other
        self._count(differences, (tried, other))
        self.centre = self.losses_sum[1] / self.met[1]
        self._slice(mine, differences)

    def _weigh(self, rows: pl.DataFrame) -> None:
        """One difference a toss, of its records in the first of all pieces that have any; the first one's slice."""
        both = pl.col("version").is_in([self.comparison.tried, self.comparison.other])
        mine = tosses.tossed(rows.filter(both, _LABELLED), self.comparison.share)
        if mine.is_empty():
            return
        loss = self.losses.of(mine)
        challenged = (mine["role"] == Role.CANARY.value).to_numpy()
        self.guards.take_answers(mine.filter(challenged), timed=True)
        self.taken += mine.height
        frame = mine.select("toss").with_columns(loss=loss, challenged=challenged, row=pl.int_range(pl.len()))
        ours = frame.group_by("toss", maintain_order=True).agg(
            pl.col("loss").mean(), pl.col("challenged", "row").first()
        )
        ours = ours.filter(self.seen.first(ours["toss"]))
        if ours.is_empty():
            return
        loss, challenged = ours["loss"].to_numpy(), ours["challenged"].to_numpy()
        differences = weighted_differences(loss, challenged, share=self.comparison.share, centre=self.centre)
        self._count(differences, (loss[challenged], loss[~challenged]))
        self._slice(mine[ours["row"].to_numpy()], differences)

    def _count(self, differences: np.ndarray, losses: Iterable[np.ndarray]) -> None:
        self.open.setdefault("", []).append(differences)
        self.plain = [self.plain[0] + float(differences.sum()), self.plain[1] + len(differences)]
        for place, part in enumerate(losses):
            self.losses_sum[place] += float(part.sum())
            self.met[place] += len(part)

    def _slice(self, rows: pl.DataFrame, differences: np.ndarray) -> None:
        for name, inside in slices_of(rows, self.rules.slices):
            self.open.setdefault(name, []).append(differences[inside])

    def _mean(self) -> float:
        tried, other = (total / max(met, 1) for total, met in zip(self.losses_sum, self.met, strict=True))
        return tried - other

    def _interval(self) -> tuple[float, float]:
        return tuple(float(end) * 2 * self.reach - self.reach for end in (self.bounds.lower, self.bounds.upper))  # type: ignore[return-value]
