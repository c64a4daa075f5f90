"""Data quality: what is missing, never seen, out of range or unreadable, and how many rows come.

Rates are held against those of the training split, with the error that these have as a sample and a tolerance. All
checks of all columns share `alpha`, the expected number of false alarms, ever (`episodes.py` has the argument, what it
assumes and when it is void; `volume.py` that for rows by period).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Annotated

import numpy as np
import polars as pl

from tidemill.composition import Rule
from tidemill.data.profiles.profile import Profile, merge, profile_like
from tidemill.data.profiles.variation import largest_figure
from tidemill.moments import from_microseconds, microseconds
from tidemill.settings import Kind
from tidemill.settings.rules import AtLeastOne, Share
from tidemill.steward.evidence.episodes import Episodes, largest_rate, rate_gains
from tidemill.steward.watch import LONGEST, Reading, Severity, Watched, quoted
from tidemill.steward.watches.parts import live
from tidemill.steward.watches.parts.volume import Usual, Volume

_NAMES = 1_000
"""Never-seen values of a column and period that are kept by name; where there are more, none is named."""
_EXPECTED = 10.0
"""A category of which so many rows were to be expected, and none came, has vanished."""

MISSING, UNSEEN, RANGE, TYPE, VOLUME, SILENCE = "missing", "unseen", "range", "type", "volume", "silence"
_FIGURES = {MISSING: "missing", UNSEEN: "other", RANGE: "outside"}
_BEYOND = 0.25
"""Of how far training's worst run strayed from its mean, so much more is no evidence either."""
_FEW = 20
"""Of fewer rows no share is given; all since the change began say how much of it there is."""
_REMEDIES = {
    MISSING: "look at what sends this column, and at the joins before it",
    UNSEEN: "look whether the sender renamed values; if they are new, train with rows that have them",
    RANGE: "look whether the unit or the sender changed; if the values are true, train with rows that have them",
    TYPE: "the log of the ledger's shipper names requests that could not be read; see which client sends them",
    VOLUME: "look at what sends requests, and at the load balancer before the server",
    SILENCE: "look whether clients reach the server, and whether the ledger is shipped",
}


@dataclass(kw_only=True, slots=True)
class Settings:
    alpha: Annotated[float, Share]
    """Expected number of false alarms of this watch, of all columns and checks together, for as long as it runs."""
    half: Annotated[int, AtLeastOne]
    """Periods among which half of alpha is spent; later ones get less and less."""
    tolerance: Annotated[float, Share]
    """A rate may be larger than in training by so much before it counts as evidence."""
    harmful: Annotated[float, Share]
    """From this share of rows on, what is missing, never seen or unreadable is harm, and pages."""
    volume: Annotated[float, Rule("greater than 1", lambda value: value > 1)]
    """So many times fewer or more rows than in like periods before count as evidence."""
    unwatched: list[str]
    """Columns to leave out, besides those that the ledger masks or hashes."""


@dataclass(frozen=True, slots=True)
class _Check:
    """One rate. matters: whether the model reads the column."""

    name: str
    column: str
    rate: float
    matters: bool


@dataclass(kw_only=True, slots=True)
class Period:
    """Rows of the present period, and how many of them could not be read. new: values never seen before, by column."""

    rows: int = 0
    unread: int = 0
    profile: Profile | None = None
    new: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(kw_only=True, slots=True)
class State:
    """since, begun: found, and rows, since what is found probably began [2, checks]; when that was [checks]."""

    rates: Episodes
    since: np.ndarray
    begun: np.ndarray
    volume: Volume
    period: Period = field(default_factory=Period)


class Quality:
    """See the module. Rates are of the period's rows, and their evidence of all periods."""

    labelled = False
    canary = True

    def __init__(self, settings: Settings, watched: Watched) -> None:
        self._settings = settings
        self._columns = live.watched(watched, settings.unwatched, moments=True)
        read = {entry.name for entry in watched.manifest.interface.inputs}
        rows = watched.profile["inputs"]["rows"]
        self._checks = [
            *(
                _Check(name, column, found / max(rows, 1), column in read)
                for column, entry in self._columns.items()
                for name, found in _found(entry)
            ),
            _Check(TYPE, "", 0.0, matters=True),
        ]
        self._bursts = watched.profile["inputs"].get("bursts")
        self._largest_rates = largest_rate([round(check.rate * rows) for check in self._checks], rows)
        self._log_threshold = float(np.log((len(self._checks) + 2) / settings.alpha))
        rates, volume = (Episodes(log_threshold=self._log_threshold, half=settings.half) for _ in range(2))
        self.state = State(
            rates=rates,
            since=np.zeros((2, len(self._checks))),
            begun=np.zeros(len(self._checks), dtype=np.int64),
            volume=Volume(ratio=settings.volume, episodes=volume),
        )

    def take(self, rows: pl.DataFrame) -> None:
        period = self.state.period
        period.rows += rows.height
        period.unread += live.unreadable(rows)
        frame = live.inputs(rows, self._columns)
        if not frame.height:
            return
        given = {name: self._columns[name] for name in frame.columns}
        part = profile_like(frame, {"columns": given})
        for name, entry in part["columns"].items():
            if entry.get("other") and len(period.new.get(name, ())) <= _NAMES:
                values = frame[name].cast(pl.String).alias("value").value_counts(name="rows")
                values = values.filter(~pl.first().is_in(["", *entry["categories"]]))
                names = Counter(period.new.get(name, {}))
                for value, count in values.with_columns(pl.first().str.head(LONGEST + 1)).iter_rows():
                    names[value] += count
                period.new[name] = dict(islice(names.items(), _NAMES + 1))
        period.profile = part if period.profile is None else merge([period.profile, part])

    def close(self, begin: datetime, end: datetime) -> Sequence[Reading]:
        state, period = self.state, self.state.period
        columns = {} if period.profile is None else period.profile["columns"]
        found = {(name, column): count for column, entry in columns.items() for name, count in _found(entry)}
        found[TYPE, ""] = period.unread
        counts = np.array([found.get((check.name, check.column), 0) for check in self._checks], dtype=np.float64)
        rows = np.array([self._of(check) if (check.name, check.column) in found else 0 for check in self._checks])
        log_e = state.rates.update(rate_gains(counts, rows, self._baseline(rows)), microseconds(begin))
        began = state.rates.began
        state.since = np.where(began == state.begun, state.since, 0.0) + np.stack([counts, rows])
        state.begun = began
        readings = [self._reading(i, int(counts[i]), int(rows[i]), float(log_e[i])) for i in range(len(self._checks))]
        readings += self._volumes(begin, end)
        state.period = Period()
        return readings

    def _baseline(self, rows: np.ndarray) -> np.ndarray:
        """The share of so many rows that is no evidence yet, by check."""
        most = self._largest_rates.copy()
        for index, check in enumerate(self._checks):
            worst_run = largest_figure(self._bursts, check.column, _FIGURES.get(check.name, ""), int(rows[index]))
            if worst_run is not None:
                most[index] = max(worst_run, most[index])
        rates = np.array([check.rate for check in self._checks])
        beyond = np.maximum(_BEYOND * (most - rates), self._settings.tolerance)
        return np.asarray(np.minimum(most + beyond, 1.0))

    def _of(self, check: _Check) -> int:
        period = self.state.period
        return period.rows if check.name == TYPE else period.rows - period.unread

    def _reading(self, index: int, found: int, rows: int, log_e: float) -> Reading:
        check, alarm = self._checks[index], log_e >= self._log_threshold
        began = from_microseconds(int(self.state.begun[index]))
        before = alarm and rows < _FEW
        of, share = _shown(found, rows), found / max(rows, 1)
        if before:
            found_since, rows_since = map(int, self.state.since[:, index])
            share = found_since / max(rows_since, 1)
            if rows_since > rows:
                of += f" now, {_shown(found_since, rows_since)} since {began:%Y-%m-%d %H:%M}"
        harm = check.name != RANGE and check.matters and share - check.rate >= self._settings.harmful
        trained = f", {check.rate:.1%} in training" if rows or before else ""
        says = {
            MISSING: f"{check.column} is missing: {of}{trained}",
            UNSEEN: f"{check.column} has values that training {_knew(self._columns.get(check.column))}: {of}{trained}",
            RANGE: f"{check.column} lies outside the range of training: {of}{trained}",
            TYPE: f"Inputs could not be read: {of}" if trained else "Inputs: no rows",
        }[check.name]
        return Reading(
            check=check.name,
            subject=check.column,
            severity=Severity.HARM if harm else Severity.ADVICE,
            says=says + (self._detail(check) if alarm else "") + ".",
            remedy=_REMEDIES[check.name],
            log_e=max(log_e, 0.0),
            log_threshold=self._log_threshold,
            effect=max(share - check.rate, 0.0),
            unit="share of rows more than in training",
            since=began if alarm else None,
        )

    def _detail(self, check: _Check) -> str:
        """Which values are new, and which known ones no longer come; or how far out values lie."""
        period = self.state.period
        entry = period.profile["columns"].get(check.column) if period.profile else None
        if entry is None:
            return ""
        if check.name == RANGE:
            ends, usual = ([part["minimum"], part["maximum"]] for part in (entry, self._columns[check.column]))
            if None in (*ends, *usual) or entry["kind"] == Kind.TIMESTAMP:
                return ""
            return f"; from {ends[0]:g} to {ends[1]:g} instead of from {usual[0]:g} to {usual[1]:g}"
        if check.name != UNSEEN:
            return ""
        new = period.new.get(check.column, {})
        names = sorted(new.items(), key=lambda item: (-item[1], item[0]))[:3] if len(new) <= _NAMES else []
        named = "".join(f", {quoted(name)} in {count:,}" for name, count in names)
        reference = self._columns[check.column]
        before = sum(reference["categories"].values()) + reference["other"] + reference["missing"]
        rows = sum(entry["categories"].values()) + entry["other"] + entry["missing"]
        gone = [
            f", {quoted(name)} ({count / before:.1%} in training) no longer comes"
            for name, count in reference["categories"].items()
            if count / before * rows >= _EXPECTED and not entry["categories"][name]
        ]
        return named + "".join(gone[:3])

    def _volumes(self, begin: datetime, end: datetime) -> Iterator[Reading]:
        rows, volume = self.state.period.rows, self.state.volume
        (fall, rise), usual = volume.update(begin, rows)
        fell, began = fall >= rise, volume.episodes.began
        says = f"{rows:,} rows came from {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}; {_compared(usual)}"
        for name in (VOLUME, SILENCE):
            log_e = max(float(fall if volume.silent else 0.0) if name == SILENCE else float(max(fall, rise)), 0.0)
            alarm = log_e >= self._log_threshold
            yield Reading(
                check=name,
                subject="",
                severity=Severity.HARM if name == SILENCE else Severity.ADVICE,
                says=says,
                remedy=_REMEDIES[name],
                log_e=log_e,
                log_threshold=self._log_threshold,
                effect=abs(rows / usual.rows - 1) if usual and usual.rows else 0.0,
                unit="share of the usual rows",
                since=from_microseconds(int(began[0 if fell else 1])) if alarm else None,
            )


build = Quality


def _found(entry: Profile) -> Iterator[tuple[str, int]]:
    """What is counted of a column, by check."""
    yield MISSING, entry["missing"]
    if entry["kind"] == Kind.CATEGORICAL:
        yield UNSEEN, entry["other"]
    elif entry.get("edges"):
        low, high = entry["edges"][0], entry["edges"][-1]
        nearly = 1e-9 * max(abs(low), abs(high))  # what adding in another order makes of a sum
        smallest, largest = entry["minimum"], entry["maximum"]
        below, above = entry["counts"][0], entry["counts"][-1]
        if smallest is not None and low - nearly <= smallest < low:
            below = 0
        if entry["kind"] == Kind.TIMESTAMP or (largest is not None and high <= largest <= high + nearly):
            above = 0  # time goes on
        yield RANGE, below + above


def _shown(found: int, rows: int) -> str:
    if rows < _FEW:
        return f"{found} of {rows} row{'s' if rows > 1 else ''}" if rows else "no rows"
    return f"{found / rows:.1%} of {rows:,} rows"


def _knew(entry: Profile | None) -> str:
    return "did not have" if entry is None or not entry.get("other") else "had seldom or never"


def _compared(usual: Usual | None) -> str:
    if usual is None:
        return "what is usual is not known yet."
    return f"{usual.rows:,.0f} are usual, by {usual.what}."
