"""Drift: whether the columns, and the answers, are still distributed as in the reference profile, each by itself.

Looks are at the counts of the last days, and of the last day alone (windows.py), by `HistogramEvidence`; columns are
named by e-BH over all. A look in which fewer rows have moved than `smallest`, or than moved in as many rows of
training, adds no evidence. When the last days show none, or when of what had moved more than half is back, the column's
evidence so far is forgotten, so that an alarm ends. Both only lower it, and the weights of looks (two a period), which
sum to 1, go on from where they were: the expected number of a column's false alarms, ever, stays at most alpha over the
number of columns; while k are named, e-BH lets the next one be named with k times that.

Assumes and void: as histograms.py says. Timestamps are left out: they move by nature.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import numpy as np
import polars as pl

from tidemill.data.profiles.profile import Profile, cells, profile_like
from tidemill.data.profiles.variation import largest_figure, shifted_share
from tidemill.settings import Kind
from tidemill.settings.rules import AtLeastOne, Share, ShareOrNone
from tidemill.steward.evidence.bin_names import common_factor, set_name
from tidemill.steward.evidence.histograms import HistogramEvidence, e_bh
from tidemill.steward.evidence.limits import NOTHING, log_mean
from tidemill.steward.watch import Reading, Severity, Watched
from tidemill.steward.watches.parts import live
from tidemill.steward.watches.parts.windows import Window

_ROWS = 400
"""At least so many of the latest, and a day's, say how things are now."""
_DAYS = 3
"""So many days say whether what had moved is back: a weekend is no recovery."""

_BEYOND = 1.1
"""Times as far as the furthest run in training is far."""


@dataclass(kw_only=True, slots=True)
class Settings:
    alpha: Annotated[float, Share]
    """At most this share of the columns that are named is expected to be named wrongly."""
    half: Annotated[int, AtLeastOne]
    """Looks among which half of alpha is spent; later ones get less and less."""
    days: Annotated[int, AtLeastOne]
    """How far back looks go; whole weeks have as much of every weekday."""
    smallest: Annotated[float, ShareOrNone]
    """A drift of fewer rows, as a share of all, is no alarm; nor is one that training had for as many rows in a row."""
    unwatched: list[str]
    """Columns to leave out, besides those that the ledger masks or hashes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Column:
    """cells: its cells among all."""

    name: str
    check: str
    entry: Profile
    cells: slice


@dataclass(kw_only=True, slots=True)
class Subject:
    """What is kept of one column.

    begin: what came before is not looked at. alarmed: whether it is named. since: when what moved, the set `moved`,
    began to.
    """

    evidence: HistogramEvidence
    begin: float = 0.0
    alarmed: bool = False
    since: float | None = None
    moved: int = 0
    effect: float = 0.0


@dataclass(kw_only=True, slots=True)
class State:
    """subjects: of the columns, in their order. period: counts of the present period [cells]."""

    subjects: list[Subject]
    window: Window
    period: np.ndarray


class Drift:
    """See the module."""

    labelled = False
    canary = False

    def __init__(self, settings: Settings, watched: Watched) -> None:
        self._settings = settings
        self._classes = watched.manifest.identity.classes
        self._inputs = live.watched(watched, settings.unwatched, moments=False)
        self._answers = {
            name: entry for name, entry in watched.profile["answers"]["columns"].items() if not _only_rounded(entry)
        }
        if len(self._classes) == 2:
            del self._answers[f"probability of {self._classes[0]}"]  # the other one says it already
        self._bursts = watched.profile["inputs"].get("bursts")
        self._columns: list[_Column] = []
        subjects: list[Subject] = []
        begin = 0
        for check, columns in (("drift", self._inputs), ("answer drift", self._answers)):
            for name, entry in columns.items():
                reference = cells(entry)
                span = slice(begin, begin := begin + len(reference))
                evidence = HistogramEvidence(
                    reference=reference, ordered=entry["kind"] != Kind.CATEGORICAL, half=settings.half
                )
                self._columns.append(_Column(name=name, check=check, entry=entry, cells=span))
                subjects.append(Subject(evidence=evidence))
        window = Window(days=settings.days, cells=begin)
        self.state = State(subjects=subjects, window=window, period=np.zeros(begin, dtype=np.int64))

    def take(self, rows: pl.DataFrame) -> None:
        frames = live.inputs(rows, self._inputs), live.answers(rows, self._classes)
        for check, frame, columns in zip(("drift", "answer drift"), frames, (self._inputs, self._answers), strict=True):
            given = {name: entry for name, entry in columns.items() if name in frame.columns}
            counted = profile_like(frame, {"columns": given})["columns"]
            for column in self._columns:
                if column.check == check and column.name in counted:
                    self.state.period[column.cells] += cells(counted[column.name])

    def close(self, begin: datetime, end: datetime) -> Sequence[Reading]:
        state = self.state
        came = bool(state.period.any())
        state.window.add(begin, end, state.period)
        state.period = np.zeros_like(state.period)
        if came:
            self._look(end)
        log_e = np.array([subject.evidence.log_e for subject in state.subjects])
        named = e_bh(log_e, self._settings.alpha)
        threshold = float(np.log(len(log_e) / (self._settings.alpha * max(int(named.sum()), 1))))
        return [
            self._reading(column, subject, bool(alarm), threshold, end)
            for column, subject, alarm in zip(self._columns, state.subjects, named, strict=True)
        ]

    def _look(self, end: datetime) -> None:
        whole: dict[float, np.ndarray] = {}
        window = self.state.window
        for column, subject in zip(self._columns, self.state.subjects, strict=True):
            if subject.begin not in whole:
                whole[subject.begin] = window.whole_days(end, subject.begin).sum(axis=0)
            counts = whole[subject.begin][column.cells]
            if counts.any():
                self._weigh(column, subject, counts, window.latest(end, column.cells, days=1, rows=_ROWS))
            if subject.alarmed and self._is_right(column, subject, counts, end):
                subject.evidence.log_e, subject.begin = NOTHING, end.timestamp()

    def _weigh(self, column: _Column, subject: Subject, whole: np.ndarray, latest: np.ndarray) -> None:
        """A look at the whole window and one at its last day: what began today is a small part of a week."""
        evidence, most = subject.evidence, 0.0
        for counts in (whole, latest):
            before = evidence.log_e
            found = evidence.look(counts)
            if not self._is_far(column, counts, evidence.reference):
                evidence.log_e = before
            elif found.max() > most:
                most = float(found.max())
                subject.moved = int(np.flatnonzero(found >= most - 1e-6)[0])  # one bin rather than all the others
            if counts is whole and log_mean(found) <= 0:
                evidence.log_e = NOTHING
        subject.effect = float(shifted_share(np.stack([latest, whole]), evidence.reference).max())

    def _is_far(self, column: _Column, counts: np.ndarray, reference: np.ndarray) -> bool:
        """Whether the counts stray further than `smallest`, and than any run of as many rows did in training."""
        found = self._bursts if column.check == "drift" else None
        most = largest_figure(found, column.name, "moved", int(counts.sum())) or 0.0
        effect = float(shifted_share(counts, reference))
        return effect >= max(self._settings.smallest, _BEYOND * most)

    def _is_right(self, column: _Column, subject: Subject, counts: np.ndarray, end: datetime) -> bool:
        """Whether the rows of the last days are near the reference again, and of what moved more than half is back."""
        reference = subject.evidence.reference
        latest = self.state.window.latest(end, column.cells, days=_DAYS, rows=_ROWS)
        inside = subject.evidence.sets[subject.moved]
        now, then, before = (_share(part, inside) for part in (latest, counts, reference))
        return abs(now - before) < abs(then - before) / 2 and not self._is_far(column, latest, reference)

    def _reading(self, column: _Column, subject: Subject, alarm: bool, threshold: float, end: datetime) -> Reading:
        reference = subject.evidence.reference
        if alarm and not subject.alarmed:
            subject.since = self._began(column, subject)
        subject.alarmed = alarm
        counts = self.state.window.latest(end, column.cells, days=1, rows=_ROWS)
        says = f"{column.name}: {subject.effect:.1%} of rows have moved"
        if alarm:
            inside = subject.evidence.sets[subject.moved]
            before, now = _share(reference, inside), _share(counts, inside)
            says += f"; {set_name(column.entry, inside)} are {now:.1%} now, {before:.1%} in the reference"
            times = common_factor(column.entry, counts)
            says += f"; values are {times:.3g} times those, as if the unit had changed" if times else ""
        return Reading(
            check=column.check,
            subject=column.name,
            severity=Severity.ADVICE,
            says=says + ".",
            remedy="see whether errors rose as well; if the change stays, train with rows of this time",
            log_e=max(subject.evidence.log_e, 0.0),
            log_threshold=threshold,
            effect=subject.effect,
            unit="share of rows moved",
            since=None if not alarm or subject.since is None else datetime.fromtimestamp(subject.since, UTC),
        )

    def _began(self, column: _Column, subject: Subject) -> float | None:
        """The part since which another share of what moved is likeliest, of all moments in the window."""
        inside = subject.evidence.sets[subject.moved]
        window = self.state.window
        parts = window.parts[:, column.cells]
        found, rows = (np.cumsum(values[::-1])[::-1] for values in (parts @ inside, parts.sum(axis=1)))
        before = np.clip(_share(subject.evidence.reference, inside), 1e-6, 1 - 1e-6)
        share = np.clip(found / np.maximum(rows, 1), 1e-9, 1 - 1e-9)
        gain = rows * (share * np.log(share / before) + (1 - share) * np.log((1 - share) / (1 - before)))
        return float(window.begins[int(np.argmax(gain))]) if len(gain) else None


build = Drift


def _only_rounded(entry: Profile) -> bool:
    """Whether values differ by no more than float32 rounds them: widths of intervals that are all alike."""
    edges = entry.get("edges") or [0.0, 1.0]
    return bool(edges[-1] - edges[0] <= 1e-4 * max(abs(edges[0]), abs(edges[-1])))


def _share(counts: np.ndarray, inside: np.ndarray) -> float:
    return float(counts @ inside / max(counts.sum(), 1))
