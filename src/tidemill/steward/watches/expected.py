"""Expected performance before labels are in: the loss to expect of answers given now, from those whose truth is known.

A model's own probabilities say what it expects to lose (confidence-based estimation); how far that was off is learned
from labelled rows, weighted as their like comes now: in the spirit of Białek, Kivimäki, Kuberski & Perrakis,
Estimating model performance under covariate shift without labels (2024: M-CBPE, later PAPE), but recalibrated in the
loss itself, so that any loss and regressions are covered:

    expected loss of a row = own expectation + weighted ridge regression of (loss − own expectation) on its inputs

Evidence is about the mean of these, less two standard errors of the recalibration, made with what was known before the
period, against what the bundle allows, or, where it has no figure of that loss, against what the first labelled rows
came to (detectors.py). So it is evidence that inputs came
for which more is to be lost, if such rows still end as they did: it cannot see that inputs mean something else now.
Labels decide that (performance.py), and drift says which inputs moved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import numpy as np
import polars as pl

from tidemill.settings import Objective
from tidemill.settings.rules import AtLeastOne, NotNegative, Share
from tidemill.steward.bundle_loss import allowed_loss
from tidemill.steward.evidence.detectors import RiseDetector
from tidemill.steward.evidence.sampling import Thinned
from tidemill.steward.evidence.streams import Look, RiseStream, microseconds
from tidemill.steward.losses import probabilities_of
from tidemill.steward.watch import Reading, Severity, Watched
from tidemill.steward.watches.parts.covariates import Coder, weights

CHECK = "expected"
_RIDGE = 20.0
_FEWEST = 100
"""Labelled rows before which the model's own expectation stands alone."""


@dataclass(kw_only=True, slots=True)
class Settings:
    alpha: Annotated[float, Share]
    """Probability of a false alarm, ever."""
    tolerance: Annotated[float, NotNegative]
    """By which share of itself the bundle's loss, or that of the first labelled rows, may be exceeded."""
    half: Annotated[int, AtLeastOne]
    """Half of the alpha is spent on rises that begin among so many sampled rows."""
    sampled: Annotated[int, AtLeastOne]
    """Rows of a period that are looked at, evenly spread."""
    remembered: Annotated[int, AtLeastOne]
    """Labelled rows that are kept to learn from, evenly spread over all; each takes some 15 bytes of state."""


@dataclass(kw_only=True, slots=True)
class State:
    """past, present: the labelled rows that are learned from, and the rows of the present period.

    coefficients, doubt: of the recalibration [1 + d], and its standard error; None before there is one.
    """

    rise: RiseStream
    past: Thinned
    present: Thinned
    coefficients: np.ndarray | None = None
    doubt: float = 0.0


class Expected:
    """A `watch.Learner`: unlabelled rows to watch, labelled ones to learn from."""

    labelled = False
    canary = False

    def __init__(self, settings: Settings, watched: Watched) -> None:
        self._settings, self._watched = settings, watched
        self._coder = Coder.of(watched.profile, [column.name for column in watched.manifest.schema.inputs])
        self.state = State(
            rise=self._over(allowed_loss(watched.losses, watched.manifest)),
            past=Thinned(most=settings.remembered),
            present=Thinned(most=settings.sampled),
        )

    def _over(self, bound: float | None) -> RiseStream:
        settings = self._settings
        allowed = None if bound is None else min(bound * (1 + settings.tolerance), 1 - 1e-6)
        return RiseStream(
            detector=RiseDetector(alpha=settings.alpha, within=settings.half, anytime=True, baseline=allowed)
        )

    def learn(self, rows: pl.DataFrame) -> None:
        kept = rows[self.state.past.places(rows.height)]
        self.state.past.add({**self._arrays(kept), "loss": self._watched.losses.of(kept).astype(np.float32)})

    def take(self, rows: pl.DataFrame) -> None:
        kept = rows[self.state.present.places(rows.height)]
        self.state.present.add({**self._arrays(kept), "moment": microseconds(kept["moment"])})

    def _arrays(self, rows: pl.DataFrame) -> dict[str, np.ndarray]:
        """own: the loss that the model itself expects; score: the answer as one number in [0, 1]."""
        own, score = self._own(rows)
        return {"codes": self._coder.codes(rows), "own": own.astype(np.float32), "score": score.astype(np.float32)}

    def _own(self, rows: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        identity = self._watched.manifest.identity
        if identity.objective is Objective.REGRESSION or not rows.height:
            entry = self._watched.profile["answers"].get("columns", {}).get("value", {"edges": []})
            values = rows["value"].cast(pl.Float64).fill_null(0.0).fill_nan(0.0).to_numpy()
            place = np.searchsorted(entry["edges"], values, side="right") / max(len(entry["edges"]), 1)
            return np.zeros(rows.height), place
        classes = identity.classes
        each = pl.concat([rows.with_columns(pl.lit(name).alias("true_label")) for name in classes])
        chance = probabilities_of(each, classes, each["true_label"]).reshape(len(classes), rows.height)
        losses = self._watched.losses.of(each).reshape(len(classes), rows.height)
        score = chance[1] if identity.objective is Objective.BINARY else chance.max(axis=0)
        return (chance * losses).sum(axis=0), score

    def _design(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.column_stack([arrays["own"], arrays["score"], self._coder.design(arrays["codes"])])

    def close(self, begin: datetime, end: datetime) -> Sequence[Reading]:
        present, past = self.state.present.arrays, self.state.past.arrays
        if not len(self.state.present):
            look = self.state.rise.close()
            return [self._reading(look, "no answers in this period", look.before, look.before)]
        now = self._design(present)
        expected, doubt = self._expected(now, present["own"])
        if self.state.rise.detector.baseline is not None:
            self.state.rise.update(np.clip(expected - 2 * doubt, 0.0, 1.0), present["moment"])
        look = self.state.rise.close()
        before = look.before
        known = ""
        if len(self.state.past) >= _FEWEST:
            known = self._recalibrate(now)
            expected, doubt = self._expected(now, present["own"])
            before = float(past["loss"].mean())
            if self.state.rise.detector.baseline is None:
                above = 2 * float(past["loss"].std() / np.sqrt(len(self.state.past)))
                self.state.rise = self._over(max(before + above, 1e-6))
        mean = float(expected.mean())
        half = 2 * float(np.sqrt(doubt**2 + expected.var() / len(expected)))
        self.state.present = Thinned(most=self._settings.sampled)
        return [self._reading(look, self._says(mean, half, before, known), mean, before)]

    def _expected(self, design: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, float]:
        """Expected loss of rows, and how much all of them may be off together (one standard error)."""
        coefficients = self.state.coefficients
        if coefficients is None:
            return np.clip(own.astype(np.float64), 0.0, 1.0), 0.0
        return np.clip(own + coefficients[0] + design @ coefficients[1:], 0.0, 1.0), self.state.doubt

    def _recalibrate(self, now: np.ndarray) -> str:
        """Learns from the labelled rows, weighted by how often their like comes now; says from how many."""
        past = self.state.past.arrays
        before = self._design(past)
        weight = weights(before, now)
        design = np.column_stack([np.ones(len(before)), before])
        off = past["loss"].astype(np.float64) - past["own"]
        ridge = np.diag([1e-9, *[_RIDGE] * before.shape[1]])
        weighted = design * weight[:, None]
        coefficients = np.linalg.solve(weighted.T @ design + ridge * weight.mean(), weighted.T @ off)
        residual = off - design @ coefficients
        self.state.coefficients = coefficients
        self.state.doubt = float(np.sqrt(np.square(weight * residual).sum()) / weight.sum())
        effective = weight.sum() ** 2 / np.square(weight).sum()
        return f", learned from {len(weight):,} labelled rows that count as {effective:,.0f}"

    def _says(self, mean: float, half: float, before: float, known: str) -> str:
        losses = self._watched.losses
        low, middle, high = (losses.unscaled(min(max(end, 0.0), 1.0)) for end in (mean - half, mean, mean + half))
        than = f"{losses.unscaled(before):.4g} on all of them" if known else f"{losses.unscaled(before):.4g} allowed"
        if not known and self.state.rise.detector.baseline is None:
            than = "labels will tell what to hold it against"
        return f"{losses.name} is expected to be {middle:.4g} ({low:.4g} to {high:.4g}){known}; {than}"

    def _reading(self, look: Look, says: str, mean: float, before: float) -> Reading:
        losses = self._watched.losses
        since = f", risen about {look.since:%Y-%m-%d %H:%M} UTC" if look.alarm and look.since else ""
        return Reading(
            check=CHECK,
            subject="",
            severity=Severity.ADVICE,
            says=f"{says}{since}.",
            remedy="see which inputs moved (drift); ask for labels of these rows sooner, as only they can tell",
            log_e=look.log_e,
            log_threshold=look.log_threshold,
            effect=losses.unscaled(mean) - losses.unscaled(before),
            unit=losses.name,
            since=look.since if look.alarm else None,
        )


build = Expected
