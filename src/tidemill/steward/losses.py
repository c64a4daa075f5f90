"""The policy's metric: a loss of each labelled row, scaled to [0, 1], as evidence with stated error rates needs bounds.

| name | loss of a row | in its own units |
|---|---|---|
| log_loss | −log p, p the true class's probability, at least `smallest_probability` | 0 … −log of that |
| brier | (1 − p)² of two classes; of more, squared errors of all probabilities (Brier, 1950) | 0 … 1; 0 … 2 |
| zero_one | 1 where another class was answered | 0 … 1 |
| cost | `costs[true class][answered class]`, 0 where none is given | smallest … largest cost |
| absolute_error, squared_error | of the value, at most `scale`, or its square | 0 … scale; 0 … scale² |
| package.module:function, path/to/file.py:function | a function of your own: rows → losses [rows] | `bounds` |

A label that is none of the classes a version knows is one that it gave no probability (with `cost`: the largest cost):
the model was as wrong as it can be, and a challenger that knows it gains by it. So is an answer without a number.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
import polars as pl

from tidemill.bundle.manifest import Identity
from tidemill.composition import Conflict, named
from tidemill.errors import LedgerError, SettingsError, listed
from tidemill.settings import Objective
from tidemill.settings.rules import Positive, Share

AUTO = "auto"
COST = "cost"
LOG_LOSS = "log_loss"
SQUARED_ERROR = "squared_error"

Kernel = Callable[[pl.DataFrame], np.ndarray]
"""Losses [rows], float64, in the metric's own units."""


@dataclass(kw_only=True, slots=True)
class Settings:
    """The group `losses`; each key but the first belongs to the losses that name it in the table above."""

    name: str
    """One of the table's; auto takes log_loss, or squared_error for a regression."""
    smallest_probability: Annotated[float, Share]
    costs: dict[str, dict[str, float]]
    scale: Annotated[float, Positive] | None
    bounds: list[float]

    def conflicts(self) -> Iterator[Conflict]:
        if ":" in self.name and not (len(self.bounds) == 2 and self.bounds[0] < self.bounds[1]):
            yield Conflict("bounds", self.bounds, "[lowest, highest] of the losses that your own function gives")


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """The policy's metric: a loss of each row in [0, 1], and how to say it in its own units, from `low` to `high`."""

    name: str
    low: float
    high: float
    kernel: Kernel

    def of(self, rows: pl.DataFrame) -> np.ndarray:
        """Losses [rows] of labelled rows, scaled to [0, 1].

        Raises:
            LedgerError: a row has no label of the model's kind (text for a class, a finite number for a regression).
            SettingsError: a function of the user's own leaves its bounds.
        """
        if not rows.height:
            return np.zeros(0)
        return np.asarray((self.kernel(rows) - self.low) / (self.high - self.low))

    def unscaled(self, loss: float) -> float:
        """A mean of scaled losses in the metric's own units."""
        return self.low + loss * (self.high - self.low)


def make(settings: Settings, identity: Identity) -> Loss:
    """The loss that the settings name, for answers of that model.

    Raises:
        SettingsError: no such loss, none of the model's objective, or one that lacks what it needs.
    """
    regression = identity.objective is Objective.REGRESSION
    name = settings.name if settings.name != AUTO else SQUARED_ERROR if regression else LOG_LOSS
    if ":" in name:
        own = named(name, what="A loss", kind="Function")
        low, high = settings.bounds
        kernel = partial(_own, own=own, name=name, low=low, high=high)
        return Loss(name=name, low=low, high=high, kernel=kernel)
    losses = _REGRESSION if regression else _CLASSIFICATION
    if name not in losses:
        near = difflib.get_close_matches(name, losses, n=1)
        raise SettingsError(
            f"losses.name is one of {', '.join(losses)} for a {identity.objective} model, or package.module:function",
            observed=repr(name),
            remedy=f"did you mean {near[0]}?" if near else f"set losses.name to {AUTO}, or to one of these",
        )
    return losses[name](settings, tuple(identity.classes))


def probabilities_of(rows: pl.DataFrame, classes: Sequence[str], labels: pl.Series) -> np.ndarray:
    """The probability that each answer gave to a class [rows], float64; 0 to a class that its version does not know.

    Args:
        classes: the order of the probabilities where a row says none itself.
        labels: name of the class, for each row.
    """
    found = np.zeros(rows.height)
    for own, places in _by_classes(rows, classes):
        at = labels[places].cast(pl.Enum(own), strict=False).to_physical()
        given = rows["probabilities"][places].to_frame().select(pl.first().list.get(at, null_on_oob=True))
        found[places] = given.to_series().fill_null(0.0).fill_nan(0.0).to_numpy()
    return found


def broken(rows: pl.DataFrame) -> np.ndarray:
    """1 for each answer with a number that is not finite, or with none at all [rows]."""
    odd = pl.col("probabilities").list.eval(~pl.element().is_finite().fill_null(False)).list.any()
    given = (
        pl.when(pl.col("probabilities").is_null()).then(~pl.col("value").is_finite().fill_null(False)).otherwise(odd)
    )
    return np.asarray(rows.select(given.cast(pl.Float64)).to_series().to_numpy())


def _by_classes(rows: pl.DataFrame, classes: Sequence[str]) -> Iterator[tuple[Sequence[str], Any]]:
    """The classes of each version, which come in one order, and where its rows are."""
    if rows["version"].n_unique() == 1:
        yield _first(rows["classes"]) or classes, slice(None)
        return
    for version in rows["version"].unique(maintain_order=True):
        places = np.flatnonzero(rows["version"].eq_missing(version).to_numpy())
        yield _first(rows["classes"][places]) or classes, places


def _first(series: pl.Series) -> list[str] | None:
    found = series.drop_nulls().head(1).to_list()
    return found[0] if found else None


def _true_labels(rows: pl.DataFrame) -> pl.Series:
    return _complete(rows["true_label"], "the name of a class")


def _complete(series: pl.Series, kind: str) -> pl.Series:
    if missing := series.null_count():
        raise LedgerError(
            f"A labelled row has {kind} as its label",
            observed=f"{missing} of {len(series)} rows have none in {series.name}",
            remedy="send labels of the kind that the model answers with, by POST /feedback or in the file of labels",
        )
    return series


def _log_loss(settings: Settings, classes: tuple[str, ...]) -> Loss:
    least = settings.smallest_probability

    def kernel(rows: pl.DataFrame) -> np.ndarray:
        return np.asarray(-np.log(np.clip(probabilities_of(rows, classes, _true_labels(rows)), least, 1.0)))

    return Loss(name=LOG_LOSS, low=0.0, high=float(-np.log(least)), kernel=kernel)


def _brier(settings: Settings, classes: tuple[str, ...]) -> Loss:
    def kernel(rows: pl.DataFrame) -> np.ndarray:
        true = np.clip(probabilities_of(rows, classes, _true_labels(rows)), 0.0, 1.0)
        if len(classes) == 2:
            return np.asarray(np.square(1 - true))
        numbers = pl.col("probabilities").list.eval(pl.element().fill_nan(1.0).cast(pl.Float64).pow(2)).list.sum()
        squares = rows.select(numbers.fill_null(1.0)).to_series().to_numpy()
        return np.asarray(np.clip(squares - 2 * true + 1, 0.0, 2.0))

    return Loss(name="brier", low=0.0, high=1.0 if len(classes) == 2 else 2.0, kernel=kernel)


def _zero_one(settings: Settings, classes: tuple[str, ...]) -> Loss:
    def kernel(rows: pl.DataFrame) -> np.ndarray:
        return np.asarray((rows["label"].ne_missing(_true_labels(rows))).to_numpy(), dtype=np.float64)

    return Loss(name="zero_one", low=0.0, high=1.0, kernel=kernel)


def _cost(settings: Settings, classes: tuple[str, ...]) -> Loss:
    costs: Mapping[str, Mapping[str, float]] = settings.costs
    unknown = ({*costs} | {answered for row in costs.values() for answered in row}) - {*classes}
    table = np.array([[costs.get(true, {}).get(answered, 0.0) for answered in classes] for true in classes])
    if unknown or not table.max() > table.min():
        raise SettingsError(
            "losses.costs has for each class that may be true what each answered class costs, not all the same",
            observed=f"no class {listed(sorted(unknown))}" if unknown else f"{dict(costs)}",
            remedy=f"write {{true class: {{answered class: cost}}}} with the classes {listed(classes)}",
        )
    # One row and one column more, for what is no class.
    padded = np.pad(table, (0, 1), constant_values=table.max())

    def kernel(rows: pl.DataFrame) -> np.ndarray:
        true, answered = (
            series.cast(pl.Enum(classes), strict=False).to_physical().fill_null(len(classes)).to_numpy()
            for series in (_true_labels(rows), rows["label"])
        )
        return np.asarray(padded[true, answered])

    return Loss(name=COST, low=float(table.min()), high=float(table.max()), kernel=kernel)


def _error(power: int, settings: Settings, classes: tuple[str, ...]) -> Loss:
    name = SQUARED_ERROR if power == 2 else "absolute_error"
    if settings.scale is None:
        raise SettingsError(
            f"losses.scale is set for {name}: the error from which on a row counts as bad as can be",
            observed="null",
            remedy="set it in the target's units, for example to three times the test rmse",
        )
    scale = settings.scale

    def kernel(rows: pl.DataFrame) -> np.ndarray:
        true = _complete(rows["true_value"].fill_nan(None), "a number").cast(pl.Float64)
        apart = (rows["value"].cast(pl.Float64).fill_nan(None) - true).abs().fill_null(scale)
        return np.asarray(np.minimum(apart.to_numpy(), scale) ** power)

    return Loss(name=name, low=0.0, high=scale**power, kernel=kernel)


def _own(rows: pl.DataFrame, *, own: Kernel, name: str, low: float, high: float) -> np.ndarray:
    found = np.asarray(own(rows), dtype=np.float64)
    fits = found.shape == (rows.height,)
    if not fits or not ((found >= low) & (found <= high)).all():
        odd = f"between {found.min():g} and {found.max():g}" if fits else f"of shape {found.shape}"
        raise SettingsError(
            f"A loss of your own gives one number a row, in losses.bounds [{low:g}, {high:g}]",
            observed=f"{name} gave losses {odd} for {rows.height} rows",
            remedy="clip the losses, or widen the bounds; evidence is the sooner the narrower they are",
        )
    return found


_CLASSIFICATION: dict[str, Callable[[Settings, tuple[str, ...]], Loss]] = {
    LOG_LOSS: _log_loss,
    "brier": _brier,
    "zero_one": _zero_one,
    COST: _cost,
}
_REGRESSION: dict[str, Callable[[Settings, tuple[str, ...]], Loss]] = {
    "absolute_error": partial(_error, 1),
    SQUARED_ERROR: partial(_error, 2),
}
