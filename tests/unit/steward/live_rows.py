"""Live rows whose truth is known: a calibrated model of late flights, its bundle's manifest and profile."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from reread import reread
from tidemill.bundle import manifest
from tidemill.bundle.manifest import Code, Identity, Interface, Manifest
from tidemill.data.profiles.profile import profile
from tidemill.data.schema import Column, Role, Schema
from tidemill.settings import Kind, Objective
from tidemill.steward import losses
from tidemill.steward.watch import Watch, Watched

CLASSES = ["on time", "late"]
CITIES = ["JFK", "LGA", "EWR"]
BEGIN = datetime(2013, 6, 1, tzinfo=UTC)
SCHEMA = Schema(
    columns=(
        Column(name="wind", kind=Kind.NUMERIC),
        Column(name="city", kind=Kind.CATEGORICAL),
        Column(name="rain", kind=Kind.BOOLEAN),
        Column(name="crew", kind=Kind.CATEGORICAL, role=Role.GROUP),
        Column(name="late", kind=Kind.CATEGORICAL, role=Role.TARGET),
    )
)
LOSS = 0.351
"""Mean log loss of rows of which nothing is wrong."""
LOSSES = {"name": "auto", "smallest_probability": 0.01, "costs": {}, "scale": None, "bounds": []}


def rows(
    number: int,
    seed: int,
    *,
    begin: datetime = BEGIN,
    seconds: float = 1.0,
    windy: float = 0.0,
    wrong: float = 0.0,
    wrong_where: str | None = None,
    version: str = "7",
) -> pl.DataFrame:
    """Labelled rows, one every so many seconds.

    Args:
        windy: by how much the wind, and with it the doubt, is shifted.
        wrong: by how much the log odds of the truth are above those that the model answers.
        wrong_where: the only city where they are.
    """
    rng = np.random.default_rng(seed)
    wind, city = rng.normal(windy, 1, number), rng.choice(CITIES, number, p=[0.5, 0.3, 0.2])
    rain = rng.random(number) < 0.3
    odds = -2.5 + 0.9 * wind + 0.5 * rain + 0.4 * (city == "JFK")
    answered = (1 / (1 + np.exp(-odds))).astype(np.float32)
    true = 1 / (1 + np.exp(-odds - wrong * ((city == wrong_where) if wrong_where else 1.0)))
    late = rng.random(number) < true
    wind[::31] = np.nan
    moments = [begin + timedelta(seconds=seconds * index) for index in range(number)]
    inputs = pl.DataFrame(
        {"wind": wind, "city": city, "rain": rain, "crew": rng.choice(["a", "b"], number)},
        schema_overrides={"city": pl.String, "crew": pl.String},
    )
    return pl.DataFrame(
        {
            "id": [f"{seed}-{index}-0" for index in range(number)],
            "request": [f"{seed}-{index}" for index in range(number)],
            "row": np.zeros(number, dtype=np.int32),
            "version": pl.repeat(version, number, dtype=pl.String, eager=True),
            "role": pl.repeat("champion", number, dtype=pl.String, eager=True),
            "latency_us": rng.gamma(4, 500, number).astype(np.int64),
            "label": np.array(CLASSES)[(answered > 0.5).astype(int)],
            "probabilities": pl.Series(np.stack([1 - answered, answered], axis=1).reshape(number, 2)).arr.to_list(),
            "classes": pl.Series([CLASSES], dtype=pl.List(pl.String)).new_from_index(0, number),
            "value": pl.repeat(None, number, dtype=pl.Float32, eager=True),
            "true_label": np.array(CLASSES)[late.astype(int)],
            "true_value": pl.repeat(None, number, dtype=pl.Float64, eager=True),
            "moment": pl.Series(moments, dtype=pl.Datetime("us", "UTC")),
        },
        schema_overrides={"label": pl.String, "true_label": pl.String},
    ).with_columns(inputs=inputs.to_struct())


def made(results: dict[str, Any] | None = None, objective: Objective = Objective.BINARY) -> Manifest:
    classes = [] if objective is Objective.REGRESSION else list(CLASSES)
    identity = Identity(model="flights", version="7", created="2013-05-31", objective=objective, classes=classes)
    interface = Interface(inputs=[], outputs=[], schema=SCHEMA.to_dict())
    code = Code(tidemill="0", commit=None, dependencies={})
    return Manifest(
        format=manifest.FORMAT,
        identity=identity,
        interface=interface,
        code=code,
        data={},
        results=results or {},
        settings={},
    )


def metric(name: str, value: float, lower: float | None, upper: float | None, higher: bool = False) -> dict[str, Any]:
    return {"name": name, "value": value, "lower": lower, "upper": upper, "higher_is_better": higher}


def watched(upper: float | None = None, slices: list[dict[str, Any]] | None = None, **loss: Any) -> Watched:
    """The version, with the upper end of its test log loss where one is given."""
    metrics = [] if upper is None else [metric("log_loss", upper - 0.01, upper - 0.02, upper)]
    described = made({"test": {"metrics": metrics, "slices": slices or []}})
    table = rows(4000, seed=1000)
    reference = {"inputs": profile(table["inputs"].struct.unnest(), SCHEMA), "answers": {}}
    chosen = losses.make(losses.Settings(**{**LOSSES, **loss}), described.identity)
    return Watched(manifest=described, profile=reference, losses=chosen)


def fed(watch: Watch, periods: list[pl.DataFrame], parts: int = 1, *, keep: bool = False) -> list[list[Any]]:
    """Readings by period of ten thousand seconds; keep: the state goes through JSON after each part, into a `fresh`."""
    found = []
    for index, period in enumerate(periods):
        size = -(-max(period.height, 1) // parts)
        for part in range(parts):
            if (given := period.slice(part * size, size)).height:
                watch.take(given)
            if keep:
                watch.state = reread(watch.state)
        begin = BEGIN + index * timedelta(seconds=10_000)
        found.append(list(watch.close(begin, begin + timedelta(seconds=10_000))))
    return found
