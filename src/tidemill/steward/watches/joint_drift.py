"""Joint drift: whether a classifier can tell today's rows from this version's first, by what columns do together.

A classifier two-sample test by bets that are chosen from the past alone (Podkopaev & Ramdas, Sequential predictive
two-sample and independence testing, NeurIPS 2023). Here a day's bet is `HistogramEvidence` over ten bins of the scores
that a classifier gives, fitted on half of the reference and the rows of days before: the other half of the reference,
which no classifier ever sees, and the new day's rows are draws of one law unless something moved. All days share that
half, so their e-values are merged as histograms.py merges looks.

The reference are the version's own first rows, over `days` at least: what training had at once, service sees in weeks.
A day that is not told apart twice as well as the reference's own days are adds no evidence; two days in a row
without any end an alarm. Both only lower evidence. Assumes and void: as histograms.py says.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

import numpy as np
import polars as pl

from tidemill.composition import Rule
from tidemill.data.profiles.variation import shifted_share
from tidemill.settings.rules import AtLeastOne, Share, ShareOrNone
from tidemill.steward.evidence.histograms import HistogramEvidence
from tidemill.steward.evidence.limits import NOTHING, log_mean
from tidemill.steward.watch import Reading, Severity, Watched
from tidemill.steward.watches.parts import live
from tidemill.steward.watches.parts.classifier import Classifier, Features, codes
from tidemill.steward.watches.parts.samples import Sample

_BINS = 10
_DAY = 86_400
_BEYOND = 2.0
"""Times as far as the furthest of the reference's own days."""
_QUIET = 2


@dataclass(kw_only=True, slots=True)
class Settings:
    alpha: Annotated[float, Share]
    """Expected number of false alarms, for as long as it runs."""
    half: Annotated[int, AtLeastOne]
    """Days among which half of alpha is spent; later ones get less and less."""
    reference_rows: Annotated[int, Rule("200 or more", lambda value: value >= 200)]
    """So many of the first rows are what later ones are compared with; half of them teach the classifier."""
    days: Annotated[int, Rule("from 1 to 200", lambda value: 1 <= value <= 200)]
    """The reference is spread over so many days at least, and the classifier learns from as many."""
    smallest: Annotated[float, ShareOrNone]
    """Rows that are told apart in a smaller share are no alarm."""
    unwatched: list[str]
    """Columns to leave out, besides those that the ledger masks or hashes."""


@dataclass(kw_only=True, slots=True)
class State:
    """reference, past: codes of the reference's days, and of the last days behind it. seen: rows of the reference.

    begin: of the present day. since: of the first day that was told apart; effect, names: what the last such day
    showed; quiet: days since then.
    """

    today: Sample
    evidence: HistogramEvidence
    reference: list[np.ndarray] = field(init=False, default_factory=list)
    past: list[np.ndarray] = field(init=False, default_factory=list)
    begin: float | None = field(init=False, default=None)
    seen: int = field(init=False, default=0)
    since: float | None = field(init=False, default=None)
    quiet: int = field(init=False, default=0)
    effect: float = field(init=False, default=0.0)
    names: list[str] = field(init=False, default_factory=list)


class JointDrift:
    """See the module. Rows of a day, or of a longer period, are one look."""

    labelled = False
    canary = False

    def __init__(self, settings: Settings, watched: Watched) -> None:
        self._settings = settings
        self._columns = live.watched(watched, settings.unwatched, moments=False)
        self._features = Features.of(self._columns)
        evidence = HistogramEvidence(reference=np.ones(2), ordered=True, half=settings.half)
        self.state = State(today=self._sample(), evidence=evidence)

    def _sample(self) -> Sample:
        return Sample(size=self._settings.reference_rows, columns=len(self._columns))

    def take(self, rows: pl.DataFrame) -> None:
        frame = live.inputs(rows, self._columns)
        self.state.today.add(frame.height, lambda places: codes(frame[places], self._columns))

    def close(self, begin: datetime, end: datetime) -> Sequence[Reading]:
        if self.state.begin is None and self.state.today.seen:
            self.state.begin = begin.timestamp()
        if self.state.begin is not None and end.timestamp() - self.state.begin >= _DAY:
            self._end_day(self.state.begin)
            self.state.begin = None
        return [self._reading()]

    def _is_complete(self) -> bool:
        return self.state.seen >= self._settings.reference_rows and len(self.state.reference) >= self._settings.days

    def _end_day(self, begin: float) -> None:
        rows, today, self.state.today = self.state.today.seen, self.state.today.shuffled(), self._sample()
        if not self._is_complete():
            self.state.seen += rows
            self.state.reference.append(today)
            if self._is_complete():  # from now on as large a share of each day is kept
                share = min(self._settings.reference_rows / sum(map(len, self.state.reference)), 1.0)
                self.state.reference = [day[: round(share * len(day))] for day in self.state.reference]
            return
        if self.state.past:
            self._look(today[: self._settings.reference_rows // 2], begin)
        each = max(self._settings.reference_rows // self._settings.days, 1)
        self.state.past = [*self.state.past, today[:each]][-self._settings.days :]

    def _look(self, today: np.ndarray, begin: float) -> None:
        learn = self._features(np.concatenate([day[::2] for day in self.state.reference]))
        past = self._features(np.concatenate(self.state.past))
        held = [self._features(day[1::2]) for day in self.state.reference]
        if min(len(learn), len(past), len(today)) < 2 or not len(self._features.names):
            return
        classifier = Classifier.fit(learn, past, self._features.columns)
        scores = np.concatenate([classifier(learn), classifier(past)])
        edges = np.unique(np.quantile(scores, np.arange(1, _BINS) / _BINS))
        days = np.stack([_counted(classifier(day), edges) for day in held])
        counts, evidence = _counted(classifier(self._features(today)), edges), self.state.evidence
        evidence.reference = days.sum(axis=0).astype(np.float64)
        before, self.state.effect = evidence.log_e, float(shifted_share(counts, days.sum(axis=0)))
        found = float(log_mean(evidence.look(counts)))
        usual = float(shifted_share(days, days.sum(axis=0)).max())
        if found <= 0 or self.state.effect < max(self._settings.smallest, _BEYOND * usual):
            evidence.log_e, self.state.quiet = before, self.state.quiet + 1
            if self.state.quiet >= _QUIET:
                evidence.log_e, self.state.since = NOTHING, None
            return
        self.state.quiet, self.state.names = 0, classifier.names(self._features.names, 3)
        self.state.since = self.state.since or begin

    def _reading(self) -> Reading:
        threshold = float(-np.log(self._settings.alpha))
        alarm = self.state.evidence.log_e >= threshold
        if not self._is_complete():
            says = f"The reference is gathered: {self.state.seen:,} of {self._settings.reference_rows:,} rows"
            says += f", {len(self.state.reference)} of {self._settings.days} days"
        else:
            says = f"{self.state.effect:.1%} of rows are told from the first {self.state.seen:,} of this version"
            says += f", most by {', '.join(self.state.names)}" if alarm else ""
        return Reading(
            check="joint drift",
            subject="",
            severity=Severity.ADVICE,
            says=says + ".",
            remedy="see whether errors rose as well; if the change stays, train with rows of this time",
            log_e=max(self.state.evidence.log_e, 0.0),
            log_threshold=threshold,
            effect=self.state.effect,
            unit="share of rows told apart",
            since=datetime.fromtimestamp(self.state.since, UTC) if alarm and self.state.since else None,
        )


build = JointDrift


def _counted(scores: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.bincount(np.searchsorted(edges, scores, side="right"), minlength=len(edges) + 1)
