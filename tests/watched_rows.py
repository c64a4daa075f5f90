"""A model's reference and the rows that its ledger may hold, for tests of what watches it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from tidemill.bundle.manifest import Interface, Manifest, compose
from tidemill.data.profiles.profile import profile, profile_answers
from tidemill.data.schema import Column, Role, Schema
from tidemill.data.target import Target
from tidemill.settings import Kind, Objective
from tidemill.steward.losses import Loss
from tidemill.steward.watch import Watched

START = datetime(2013, 6, 3, tzinfo=UTC)
DAY = timedelta(days=1)
CARRIERS = ("UA", "B6", "EV", "DL", "AA", "MQ")
CLASSES = ("no", "yes")
INPUTS = (
    Column(name="distance", kind=Kind.NUMERIC),
    Column(name="wind", kind=Kind.NUMERIC),
    Column(name="carrier", kind=Kind.CATEGORICAL),
    Column(name="tail", kind=Kind.CATEGORICAL),
    Column(name="night", kind=Kind.BOOLEAN),
    Column(name="scheduled", kind=Kind.TIMESTAMP),
)


def _missed(rows: pl.DataFrame) -> np.ndarray:
    if rows["label"].null_count() == rows.height:
        return np.minimum(np.abs(rows["value"] - rows["true_value"]).to_numpy(), 100) / 100
    return (rows["label"] != rows["true_label"]).to_numpy().astype(float)


MISSES = Loss(name="errors", low=0.0, high=1.0, kernel=_missed)
"""The share of wrong labels, or the absolute error up to 100, as a policy's metric."""


def table(
    rng: np.random.Generator, rows: int, begin: datetime = START - 200 * DAY, span: timedelta = 150 * DAY
) -> pl.DataFrame:
    """Inputs and target. distance and wind depend on each other; wind is missing in a twentieth."""
    both = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], rows)
    wind = np.where(rng.random(rows) < 0.05, np.nan, 10 + 3 * both[:, 1])
    moments = np.sort(rng.integers(0, round(span.total_seconds() * 1e6), rows)) + round(begin.timestamp() * 1e6)
    chance = 1 / (1 + np.exp(1 - both[:, 0] - 0.5 * both[:, 1]))
    return pl.DataFrame(
        {
            "distance": np.round(1000 + 300 * both[:, 0]),
            "wind": wind,
            "carrier": rng.choice(CARRIERS, rows, p=[0.3, 0.25, 0.2, 0.12, 0.08, 0.05]),
            "tail": np.char.add("N", rng.integers(0, 400, rows).astype(str)),
            "night": rng.random(rows) < 0.2,
            "scheduled": pl.Series(moments).cast(pl.Datetime("us", "UTC")),
            "chance": chance,
            "late": np.where(rng.random(rows) < chance, "yes", "no"),
            "minutes": 60 * chance + rng.normal(0, 5, rows),
        }
    )


def answered(rows: pl.DataFrame, objective: Objective) -> dict[str, np.ndarray]:
    """The answers of a model that is right about the chances."""
    chance = rows["chance"].to_numpy()
    if objective is Objective.REGRESSION:
        value = (60 * chance).astype(np.float32)
        return {"value": value, "lower": value - 8, "upper": value + 8 + 4 * chance.astype(np.float32)}
    probabilities = np.stack([1 - chance, chance], axis=1).astype(np.float32)
    label = np.where(chance > 0.5, "yes", "no").astype(object)
    return {"probabilities": probabilities, "label": label}


def watched(objective: Objective = Objective.BINARY, rows: int = 20_000, seed: int = 0) -> Watched:
    train = table(np.random.default_rng(seed), rows)
    regression = objective is Objective.REGRESSION
    name, kind = ("minutes", Kind.NUMERIC) if regression else ("late", Kind.CATEGORICAL)
    schema = Schema(columns=(*INPUTS, Column(name=name, kind=kind, role=Role.TARGET)))
    target = Target(name=name, objective=objective, classes=() if regression else CLASSES)
    manifest: Manifest = compose(
        "flights", Interface.of(schema, INPUTS, target), target, data={}, results={}, settings={}
    )
    return Watched(
        manifest=manifest,
        profile={
            "inputs": profile(train, schema),
            "answers": profile_answers(answered(train, objective), target.classes),
        },
        losses=MISSES,
    )


Change = Callable[[pl.DataFrame], pl.DataFrame]


def period(
    rng: np.random.Generator,
    rows: int,
    begin: datetime,
    span: timedelta = DAY,
    objective: Objective = Objective.BINARY,
    change: Change = lambda frame: frame,
) -> pl.DataFrame:
    """The ledger's rows of a period, labelled. change: what is done to the inputs before they are recorded."""
    drawn = table(rng, rows, begin, span)
    answers = answered(drawn, objective)
    names = [column.name for column in INPUTS]
    given: dict[str, Any] = {
        "probabilities": pl.Series(answers["probabilities"]).arr.to_list() if "probabilities" in answers else None,
        "label": pl.Series(answers["label"].tolist(), dtype=pl.String) if "label" in answers else None,
        **{name: pl.Series(answers[name]) if name in answers else None for name in ("value", "lower", "upper")},
    }
    empty = {"probabilities": pl.List(pl.Float32), "label": pl.String}
    inputs = change(drawn.select(names))
    moments = drawn["scheduled"]
    return pl.DataFrame(
        {
            "id": [f"{begin:%y%m%d%H}-{index}" for index in range(rows)],
            "request": [f"{begin:%y%m%d%H}-{index}" for index in range(rows)],
            "row": np.zeros(rows, np.int32),
            "at": moments,
            "moment": moments,
            "model": ["flights"] * rows,
            "version": ["1"] * rows,
            "role": ["champion"] * rows,
            "propensity": np.ones(rows),
            "latency_us": rng.integers(500, 3_000, rows),
            "inputs": inputs.to_struct("inputs"),
            "classes": pl.Series([list(CLASSES)] * rows, dtype=pl.List(pl.String)),
            **{
                name: pl.Series([None] * rows, dtype=empty.get(name, pl.Float32)) if values is None else values
                for name, values in given.items()
            },
            "true_label": drawn["late"],
            "true_value": drawn["minutes"],
        }
    )
