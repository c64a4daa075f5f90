"""A trial: what labelled records say about two versions, in shadow, as canary, and after the change.

What counts as one is a record, or the mean of a period where records of a period are alike.

In shadow and on probation both answered the same records, and each is a pair. As canary each record met one of them,
and is weighed by the inverse of the chance with which it did; evidence of the shadow stage is carried on (paired.py).

On probation the new champion is on trial, and the one it replaced answers in shadow: it is taken back where the new
one is shown to be worse by more than the margin.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from tidemill.ledger.record import Role
from tidemill.steward.evidence.betting import MeanEvidence
from tidemill.steward.evidence.bounds import MeanBounds
from tidemill.steward.evidence.paired import DifferenceEvidence, Verdict, weighted_differences
from tidemill.steward.losses import Loss
from tidemill.steward.policy import TrialSettings, Unit
from tidemill.steward.trial import tosses
from tidemill.steward.trial.comparison import Comparison, Stage, question
from tidemill.steward.trial.guards import Guards, Mean, slices_of
from tidemill.steward.watch import Reading, Severity

_LABELLED = pl.any_horizontal(pl.selectors.starts_with("true_").is_not_null())


@dataclass(kw_only=True, slots=True)
class Carried:
    """What a stage hands on to the next one; a canary's decision has it, as JSON, in its evidence.

    Attributes:
        evidence: about the tried version's loss minus the other's.
        asks: what "better" means there: the metric, its scale and the null that is to be refuted.
        shares: of this stage and those before, whose evidence is in it: at one of them keys would meet the same tosses
            again.
        earlier, taken: labelled records in the stages before and in this one.
        plain: sum and number of differences, in all stages that the evidence is of.
    """

    evidence: DifferenceEvidence
    asks: list[str | float]
    shares: list[float]
    centre: float = 0.5
    earlier: int = 0
    taken: int = 0
    plain: list[float] = field(default_factory=lambda: [0.0, 0.0])


@dataclass(kw_only=True, slots=True)
class State:
    """All that a trial keeps.

    Attributes:
        guards: what else may stop it, in this stage.
        bounds: of the mean difference, scaled to [0, 1]; of this stage alone.
        tried, other: losses of the two versions.
        seen: tosses that a canary was judged by.
        open: differences of the present period, by slice ("": all of them).
    """

    carried: Carried
    guards: Guards
    bounds: MeanBounds
    tried: Mean = field(default_factory=Mean)
    other: Mean = field(default_factory=Mean)
    seen: tosses.Seen = field(default_factory=tosses.Seen)
    open: dict[str, list[np.ndarray]] = field(default_factory=dict)


@dataclass(kw_only=True, slots=True)
class Trial:
    """The evidence of one stage."""

    rules: TrialSettings
    comparison: Comparison
    losses: Loss
    state: State

    @classmethod
    def begin(
        cls, rules: TrialSettings, comparison: Comparison, losses: Loss, carried: Carried | None = None
    ) -> "Trial":
        """carried: of the stage before, whose evidence goes on if it asked the same; only a canary's does."""
        reach = rules.reach if rules.unit is Unit.PERIOD else 1.0
        if comparison.stage is Stage.CANARY:
            # Cut to less, weighted differences of equal models would not be 0 on average.
            reach = 1 / min(comparison.share, 1 - comparison.share)
        asked = question(rules, comparison.stage)
        scale = (losses.unscaled(0.0), losses.unscaled(1.0))
        asks: list[str | float] = [losses.name, *scale, asked.nulls["better"][0]]
        goes_on = carried is not None and carried.asks == asks and comparison.share not in carried.shares
        if carried is not None and goes_on:
            carried = replace(
                carried,
                evidence=carried.evidence.next_stage(question=asked, reach=reach),
                shares=[*carried.shares, comparison.share],
                earlier=carried.earlier + carried.taken,
                taken=0,
            )
        else:
            evidence = DifferenceEvidence(question=asked, reach=reach)
            carried = Carried(evidence=evidence, asks=asks, shares=[comparison.share])
        broken, slow = (MeanEvidence(mean=share, rises=True) for share in (rules.broken_share, rules.slow_share))
        guards = Guards(reach=reach, broken=broken, slow=slow)
        state = State(carried=carried, guards=guards, bounds=MeanBounds(alpha=rules.alpha))
        return cls(rules=rules, comparison=comparison, losses=losses, state=state)

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
        state = self.state
        plain = {name: np.concatenate(parts) for name, parts in state.open.items()}
        state.open, counted = {}, plain
        if self.rules.unit is Unit.PERIOD:
            counted = {name: np.clip(part.mean(keepdims=True), -self.reach, self.reach) for name, part in plain.items()}
        for name, part in counted.items():
            if name:
                state.guards.take_slice(self.rules, name, plain[name], part)
            else:
                state.carried.evidence.update(part)
                state.bounds.update((part + self.reach) / (2 * self.reach))

    @property
    def evidence(self) -> DifferenceEvidence:
        return self.state.carried.evidence

    @property
    def reach(self) -> float:
        return self.evidence.reach

    @property
    def taken(self) -> int:
        """Labelled records in this stage."""
        return self.state.carried.taken

    @property
    def records(self) -> int:
        """In all stages."""
        return self.state.carried.earlier + self.taken

    def verdict(self) -> tuple[Verdict, str]:
        """What is shown, and the guard that was broken, if any ("" otherwise); harm comes first."""
        rules, harm = self.rules, self.state.guards.verdict(self.rules)
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
        total, count = self.state.carried.plain
        return total / max(count, 1.0)

    def figures(self) -> dict[str, Any]:
        """The numbers behind a decision, in the units of the policy's metric, as JSON holds them."""
        lower, upper = self._interval()
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
            "tried_loss": shown(float(self.state.tried)),
            "against_loss": shown(float(self.state.other)),
            "difference": shown(self._mean()) - shown(0.0),
            "difference_in_all_stages": shown(self._overall) - shown(0.0),
            "lower": shown(lower) - shown(0.0),
            "upper": shown(upper) - shown(0.0),
            "log_e": self.evidence.log_e,
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

    def _pair(self, rows: pl.DataFrame, shadows: pl.DataFrame) -> None:
        mine = rows.filter(pl.col("version") == self.comparison.champion, _LABELLED)
        mine = mine.join(shadows.select("id"), on="id", how="semi", maintain_order="left")
        theirs = mine.select("id").join(shadows, on="id", how="left", maintain_order="left")
        if mine.is_empty():
            return
        carried = self.state.carried
        carried.taken += mine.height
        served, shadow = self.losses.of(mine), self.losses.of(theirs)
        probation = self.comparison.stage is Stage.PROBATION
        tried, other = (served, shadow) if probation else (shadow, served)
        self.state.guards.take_answers(self.rules, mine if probation else theirs, timed=probation)
        differences = tried - other
        self._count(differences, (tried, other))
        carried.centre = float(self.state.other)
        self._slice(mine, differences)

    def _weigh(self, rows: pl.DataFrame) -> None:
        """One difference a toss, of its records in the first of all pieces that have any; the first one's slice."""
        both = pl.col("version").is_in([self.comparison.tried, self.comparison.other])
        mine = tosses.tossed(rows.filter(both, _LABELLED), self.comparison.share)
        if mine.is_empty():
            return
        loss = self.losses.of(mine)
        challenged = (mine["role"] == Role.CANARY.value).to_numpy()
        state = self.state
        state.guards.take_answers(self.rules, mine.filter(challenged), timed=True)
        state.carried.taken += mine.height
        frame = mine.select("toss").with_columns(loss=loss, challenged=challenged, row=pl.int_range(pl.len()))
        ours = frame.group_by("toss", maintain_order=True).agg(
            pl.col("loss").mean(), pl.col("challenged", "row").first()
        )
        ours = ours.filter(state.seen.first(ours["toss"]))
        if ours.is_empty():
            return
        loss, challenged = ours["loss"].to_numpy(), ours["challenged"].to_numpy()
        differences = weighted_differences(loss, challenged, share=self.comparison.share, centre=state.carried.centre)
        self._count(differences, (loss[challenged], loss[~challenged]))
        self._slice(mine[ours["row"].to_numpy()], differences)

    def _count(self, differences: np.ndarray, losses: Iterable[np.ndarray]) -> None:
        state = self.state
        state.open.setdefault("", []).append(differences)
        total, count = state.carried.plain
        state.carried.plain = [total + float(differences.sum()), count + len(differences)]
        for mean, part in zip((state.tried, state.other), losses, strict=True):
            mean.add(part)

    def _slice(self, rows: pl.DataFrame, differences: np.ndarray) -> None:
        for name, inside in slices_of(rows, self.rules.slices):
            self.state.open.setdefault(name, []).append(differences[inside])

    def _mean(self) -> float:
        return float(self.state.tried) - float(self.state.other)

    def _interval(self) -> tuple[float, float]:
        bounds = self.state.bounds
        return float(bounds.lower) * 2 * self.reach - self.reach, float(bounds.upper) * 2 * self.reach - self.reach
