"""What the replay's tests share: a small table with times, a bundle that serves it, and a real replica over HTTP."""

import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import yaml

from onnx_weights import tensors
from real_servers import by_http
from tidemill.bundle import checksums, golden, manifest
from tidemill.bundle.registry.registry import Registry
from tidemill.bundle.runtime import Runtime
from tidemill.composition import build
from tidemill.data.schema import Column, Role, Schema
from tidemill.data.target import Target
from tidemill.replay.table.timeline import Timeline
from tidemill.serve.arguments import parse
from tidemill.serve.replica import Replica
from tidemill.settings import DataSettings, Kind, Objective

ROOT = Path(__file__).parents[3]
BEGIN = datetime(2013, 4, 1, tzinfo=UTC)


def data_settings(path: Path, **changes: Any) -> DataSettings:
    values = yaml.safe_load((ROOT / "conf/data/table.yaml").read_text())
    return build(DataSettings, {**values, "path": str(path), **changes}, "data")


def timed(folder: Path, into: Path) -> Schema:
    """A copy of the small bundle whose column `at` is the time of a record, and whose records have a key, `id`."""
    shutil.copytree(folder, into)
    described = manifest.read(into)
    columns = [
        replace(column, role=Role.TIME) if column.name == "at" else column for column in described.schema.columns
    ]
    schema = Schema(columns=(Column(name="id", kind=Kind.CATEGORICAL, role=Role.KEY), *columns), time_is_input=True)
    interface = replace(described.interface, schema=schema.to_dict())
    manifest.write(replace(described, interface=interface), into)
    checksums.write(into)
    return schema


def worse(bundle: Path, into: Path, shift: float = 12.0) -> Path:
    """A copy of a bundle that thinks its first class much likelier than it is."""
    shutil.copytree(bundle, into)
    described = manifest.read(into)
    model = onnx.load(into / "model.onnx")
    width = len(described.identity.classes)
    bias = next(t for t in tensors(model.graph) if list(t.dims) == [width] and t.data_type == 1)
    moved = onnx.numpy_helper.to_array(bias) + np.array([shift, *[0] * (width - 1)], np.float32)
    bias.CopyFrom(onnx.numpy_helper.from_array(moved, bias.name))
    (into / "model.onnx").write_bytes(model.SerializeToString())
    rows = golden.read(into / golden.NAME, described.schema.inputs)
    answers = Runtime((into / "model.onnx").read_bytes(), described.interface)(rows.raw)
    golden.write(replace(rows, answers=answers), into / golden.NAME)
    checksums.write(into)
    return into


def registry_of(folder: Path, place: Path) -> Registry:
    """One version, champion, of the model "small"."""
    timed(folder, place / "bundle")
    registry = Registry(place / "registry")
    registry.promote("small", registry.add("small", place / "bundle"), by="me", reason="first")
    return registry


def records(hours: int = 60, every: int = 1) -> pl.DataFrame:
    """`every` records an hour, as the small bundle's table has them, in no order of time."""
    count = hours * every
    random = np.random.default_rng(3)
    at = [BEGIN + timedelta(hours=row // every, minutes=row % every) for row in range(count)]
    table = pl.DataFrame(
        {
            "id": [f"r{row}" for row in range(count)],
            "size": random.normal(50, 20, count),
            "value": random.integers(0, 2**30, count).astype(np.float64),
            "city": random.choice(["Zürich", "New York", "東京"], count),
            "open": random.random(count) < 0.5,
            "at": pl.Series(at, dtype=pl.Datetime("us", "UTC")),
            "constant": np.ones(count),
        }
    )
    grade = pl.when(pl.col("size") > 60).then(pl.lit("ä-high")).otherwise(pl.lit("mid")).alias("grade")
    return table.with_columns(grade).sample(fraction=1.0, shuffle=True, seed=1)


def target() -> Target:
    return Target(name="grade", objective=Objective.MULTICLASS, classes=("low", "mid", "ä-high"))


def timeline_of(table: pl.DataFrame, delay: timedelta = timedelta(hours=3)) -> Timeline:
    table = table.sort("at")
    return Timeline(
        rows=table.drop("grade"),
        moments=table["at"].alias("moment"),
        known=(table["at"] + delay).alias("known"),
        labels=target().encode(table["grade"]),
        target=target(),
        unreadable=0,
    )


@contextlib.asynccontextmanager
async def served(registry: Registry, ledger: Path) -> AsyncIterator[tuple[int, Replica]]:
    """A replica behind a real HTTP server, with its ledger, and that server's port."""
    given = {"registry": registry.path, "model": "small", "ledger": {"path": str(ledger), "ship_seconds": 0.1}}
    replica = Replica(parse({**given, "watch_seconds": 0.05}), "r1")
    await replica.start()
    try:
        async with by_http(replica) as port:
            yield port, replica
    finally:
        await replica.stop()
