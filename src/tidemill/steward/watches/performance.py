"""Real performance as labels arrive: whether the loss rose, overall or on a slice, by how much and since when.

Guarantee: the probability that any of these checks ever gives a false alarm is at most `alpha`: half of it is spent on
the loss of all rows, the other half in equal parts on all slices that there may be (Bonferroni, which holds however
slices depend on each other). See detectors.py for what it assumes, and when it is void: labels that come the sooner
the larger the loss, and seasons, where a loss above the test split's is no false alarm but nothing new either.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import numpy as np
import polars as pl

from tidemill.settings.rules import AtLeastOne, NotNegative, Share
from tidemill.steward.bundle_loss import allowed_loss, figures
from tidemill.steward.evidence.detectors import RiseDetector
from tidemill.steward.evidence.streams import Look, RiseStream, microseconds
from tidemill.steward.watch import Reading, Severity, Watched
from tidemill.steward.watches.parts.slicing import Cut, cut

CHECK = "performance"
_SHIFTED_MOST = 1 - 1e-6


class Baseline(StrEnum):
    """What the loss may not exceed: what the bundle's test split showed, where it has that figure, or its own past."""

    BUNDLE = "bundle"
    PAST = "past"


@dataclass(kw_only=True, slots=True)
class Settings:
    alpha: Annotated[float, Share]
    """Probability of a false alarm, ever, over all slices together."""
    baseline: Baseline
    tolerance: Annotated[float, NotNegative]
    """By which share of itself the bundle's loss may be exceeded."""
    half: Annotated[int, AtLeastOne]
    """Half of the alpha is spent on rises that begin among so many labelled rows; later ones are found little later."""
    burn_in: Annotated[int, AtLeastOne]
    """Labelled rows from which a baseline is estimated first, where the bundle has none."""
    slices: list[str]
    """Columns, each of which is cut into slices."""
    most: Annotated[int, AtLeastOne]
    """Slices of one categorical column, beside "other" and "missing"."""
    bins: Annotated[int, AtLeastOne]
    """Slices of one numeric column, of about as many rows each."""


@dataclass(kw_only=True, slots=True)
class Sliced:
    """The slices of one column, and what is followed of each, by name."""

    cut: Cut
    streams: dict[str, RiseStream] = field(default_factory=dict)


@dataclass(kw_only=True, slots=True)
class State:
    """total, rows: of the losses of all labelled rows. unknown: labels of the period that no class of the model is."""

    overall: RiseStream
    sliced: list[Sliced]
    total: float = 0.0
    rows: int = 0
    unknown: int = 0


class Performance:
    """See the module. Slices whose loss the bundle does not have are held to their own past."""

    labelled = True
    canary = False

    def __init__(self, settings: Settings, watched: Watched) -> None:
        self._settings, self._watched = settings, watched
        cuts = [
            cut(watched, column, most=settings.most, bins=settings.bins, key=f"watches.{CHECK}.slices")
            for column in settings.slices
        ]
        self._slice_alpha = settings.alpha / 2 / max(sum(each.most for each in cuts), 1)
        overall = RiseStream(
            detector=self._detector(settings.alpha / 2 if cuts else settings.alpha), interval=settings.alpha
        )
        self.state = State(overall=overall, sliced=[Sliced(cut=each) for each in cuts])

    def _detector(self, alpha: float, column: str = "", value: str = "") -> RiseDetector:
        ask = self._settings
        bound = None
        if ask.baseline is Baseline.BUNDLE:
            bound = allowed_loss(self._watched.losses, self._watched.manifest, column, value)
        return RiseDetector(
            alpha=alpha,
            within=ask.half,
            anytime=True,
            baseline=None if bound is None else min(bound * (1 + ask.tolerance), _SHIFTED_MOST),
            burn_in=ask.burn_in,
        )

    def take(self, rows: pl.DataFrame) -> None:
        losses, moments = self._watched.losses.of(rows), microseconds(rows["moment"])
        state = self.state
        state.overall.update(losses, moments)
        state.total, state.rows = state.total + float(losses.sum()), state.rows + rows.height
        classes = self._watched.manifest.identity.classes
        if classes:
            state.unknown += int((~rows["true_label"].is_in(classes)).sum())
        for each in state.sliced:
            for name, places in _places(each.cut, rows):
                if name not in each.streams:
                    each.streams[name] = RiseStream(detector=self._detector(self._slice_alpha, each.cut.column, name))
                each.streams[name].update(losses[places], moments[places])

    def close(self, begin: datetime, end: datetime) -> Sequence[Reading]:
        readings = [self._reading("", self.state.overall)]
        for each in self.state.sliced:
            by, streams = each.cut, each.streams
            readings += [self._reading(f"{by.column}={name}", streams[name]) for name in by.names if name in streams]
        self.state.unknown = 0
        return readings

    def _reading(self, subject: str, rise: RiseStream) -> Reading:
        fixed = rise.detector.baseline is not None
        look = rise.close()
        losses = self._watched.losses
        effect = losses.unscaled(look.now) - losses.unscaled(look.before)
        return Reading(
            check=CHECK,
            subject=subject,
            severity=Severity.HARM,
            says=self._says(subject, look, "what the bundle allows" if fixed else "before"),
            remedy="retrain with the labels that are in; drift and calibration may say what changed",
            log_e=look.log_e,
            log_threshold=look.log_threshold,
            effect=effect if look.alarm or look.rows else 0.0,
            unit=losses.name,
            since=look.since if look.alarm else None,
        )

    def _says(self, subject: str, look: Look, named: str) -> str:
        losses = self._watched.losses
        where = f" where {subject}" if subject else ""
        before = f"{losses.unscaled(look.before):.4g}"
        if look.alarm and look.since is not None:
            text = f"{losses.name}{where} rose to {losses.unscaled(look.mean_since):.4g} from {before} ({named})"
            text += f" about {look.since:%Y-%m-%d %H:%M} UTC"
        elif look.rows:
            low, high = losses.unscaled(look.low), losses.unscaled(look.high)
            interval = "" if subject else f" ({low:.4g} to {high:.4g})"
            text = f"{losses.name}{where} is {losses.unscaled(look.mean):.4g}{interval}, {named} {before}"
            text += f", {look.rows:,} rows"
        else:
            return f"no labels{where} in this period."
        unknown = self.state.unknown if not subject else 0
        return text + (f"; {unknown:,} labels are none of the model's classes." if unknown else ".")

    def standing(self) -> dict[str, Any]:
        """Live beside what was promised: the mean loss of all labelled rows so far, in its own units."""
        losses = self._watched.losses
        rows = self.state.rows
        live = losses.unscaled(self.state.total / rows) if rows else None
        return {"metric": losses.name, "rows": rows, "live": live, **figures(losses, self._watched.manifest)}


build = Performance


def _places(by: Cut, rows: pl.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
    """The rows of each slice that has any, in their order."""
    codes = by.codes(rows)
    order = np.argsort(codes, kind="stable")
    codes = codes[order]
    firsts = np.flatnonzero(np.diff(codes, prepend=codes[0] - 1))
    for first, places in zip(firsts, np.split(order, firsts[1:]), strict=True):
        if codes[first] >= 0:
            yield by.names[codes[first]], places
