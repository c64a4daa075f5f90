"""A served model without a server: a registry of versions, and a ledger filled with what they would have answered."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from deltalake import write_deltalake

from tidemill.bundle import checksums, folder, manifest
from tidemill.bundle.manifest import Interface
from tidemill.bundle.registry.registry import Alias, Registry
from tidemill.bundle.registry.rollout import Mode
from tidemill.data.profiles.profile import profile, profile_answers
from tidemill.data.schema import Column, Role, Schema
from tidemill.data.target import Target
from tidemill.ledger.columns import ANSWERS, LABELS
from tidemill.ledger.settings import LedgerSettings
from tidemill.settings import Kind, Objective

MODEL, CLASSES = "m", ("no", "yes")
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
HOUR = timedelta(hours=1)
SCHEMA = Schema(
    columns=(
        Column(name="id", kind=Kind.CATEGORICAL, role=Role.KEY),
        Column(name="moment", kind=Kind.TIMESTAMP, role=Role.TIME),
        Column(name="size", kind=Kind.NUMERIC),
        Column(name="city", kind=Kind.CATEGORICAL),
        Column(name="bought", kind=Kind.CATEGORICAL, role=Role.TARGET),
    )
)
CITIES = ("Bern", "Rome", "Oslo")


def inputs(rows: int, random: np.random.Generator) -> pl.DataFrame:
    return pl.DataFrame({"size": random.normal(50, 20, rows), "city": random.choice(CITIES, rows)})


class Served:
    """Versions by number differ in `skill`: how far their probabilities lie from one half on the right side."""

    def __init__(self, place: Path, versions: int = 3, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.place = place
        self.ledger = LedgerSettings(path=str(place / "ledger"))
        self.registry = Registry(place / "registry")
        for _ in range(versions):
            self.add()
        self.registry.promote(MODEL, "1", by="ann", reason="first")
        self.count = 0

    def crowned(self, at: datetime) -> None:
        """As if everything in the registry's history had been done at that time."""
        file = self.place / "registry" / MODEL / "aliases.json"
        content = json.loads(file.read_text())
        for change in content["history"]:
            change["at"] = at.isoformat(timespec="seconds")
        file.write_text(json.dumps(content))
        file.with_name("desired.json").unlink()

    def add(self) -> str:
        return self.registry.add(MODEL, bundle(self.place / "staged"))

    def challenge(self, version: str, mode: Mode = Mode.SHADOW, share: float | None = None) -> None:
        self.registry.promote(MODEL, version, Alias.CHALLENGER, by="ann", reason="to see")
        self.registry.set_rollout(MODEL, mode, share, by="ann", reason="to see")

    def answer(
        self,
        begin: datetime,
        rows: int,
        *,
        hours: float = 1.0,
        champion: tuple[str, float] = ("1", 0.2),
        shadow: tuple[str, float] | None = None,
        canary: tuple[str, float, float] | None = None,
        arrived: datetime | None = None,
        labelled: float = 1.0,
        lag: timedelta | None = timedelta(hours=2),
        latency_us: int = 900,
        late: Mapping[str, timedelta] | None = None,
        client: str | None = None,
        flatter: bool = False,
        **changed: pl.Series,
    ) -> pl.DataFrame:
        """Answers spread evenly over some hours from `begin` on, and their labels.

        champion, shadow, canary: version and skill (and share). arrived: of all requests, where the moment is only in
        the inputs. changed: columns of the inputs that are other ones.
        lag: None: labels do not say when they came true. late: by how much later labels of a class are received.
        client: who asked and labelled, by an API key's name. flatter: its labels are what the shadow answered.
        """
        random = self.random
        truth = random.random(rows) < 0.5
        numbers = np.arange(self.count, self.count + rows)
        self.count += rows
        moments = pl.Series(
            [begin + timedelta(hours=hours) * (i / rows) for i in range(rows)], dtype=pl.Datetime("us", "UTC")
        )
        ids = [f"{number:x}-0" for number in numbers]
        raw = inputs(rows, random).with_columns(
            **{"id": pl.Series([f"key {number}" for number in numbers]), "moment": moments, **changed}
        )
        at = moments if arrived is None else pl.Series([arrived], dtype=moments.dtype).new_from_index(0, rows)
        common = {
            "id": ids,
            "request": [one.removesuffix("-0") for one in ids],
            "row": np.zeros(rows, np.int32),
            "at": at,
            "day": at.dt.date(),
            "model": [MODEL] * rows,
            "latency_us": np.full(rows, latency_us),
            "client": pl.Series([client], dtype=pl.String).new_from_index(0, rows),
        }
        given = pl.DataFrame(common).with_columns(inputs=raw.to_struct())
        version, skill = champion
        served = given.with_columns(role=pl.lit("champion"), version=pl.lit(version), propensity=pl.lit(1.0))
        served = served.hstack(self._answers(truth, skill))
        if canary is not None:
            number, other, share = canary
            chosen = random.random(rows) < share
            toss = pl.Series([blake2b(f"{number}:{share}:{key}".encode()).hexdigest()[:32] for key in raw["id"]])
            tried = given.with_columns(
                role=pl.lit("canary"), version=pl.lit(number), propensity=pl.lit(share), toss=toss
            )
            tried = tried.hstack(self._answers(truth, other))
            kept = served.with_columns(propensity=pl.lit(1 - share), toss=toss).filter(pl.Series(~chosen))
            served = pl.concat([kept, tried.filter(pl.Series(chosen))], how="diagonal").sort("at", "id")
        frames = [served]
        if shadow is not None:
            beside = given.drop("inputs").with_columns(
                role=pl.lit("shadow"), version=pl.lit(shadow[0]), propensity=pl.lit(1.0)
            )
            frames.append(beside.hstack(self._answers(truth, shadow[1])))
            if flatter:
                truth = (frames[-1]["label"] == "yes").to_numpy()
        self._write("answers", pl.concat(frames, how="diagonal"), ANSWERS)
        known = random.random(rows) < labelled
        came = pl.DataFrame({"id": ids, "label": np.where(truth, "yes", "no"), "at": at, "client": common["client"]})
        came = came.with_columns(event_at=moments + lag if lag is not None else pl.lit(None))
        for name, later in (late or {}).items():
            moved = pl.when(pl.col("label") == name).then(pl.col("at") + later).otherwise("at")
            came = came.with_columns(at=moved, event_at=moved)
        came = came.filter(pl.Series(known)).with_columns(day=pl.col("at").dt.date())
        if came.height:
            self._write("labels", came, LABELS)
        return served

    def _answers(self, truth: np.ndarray, skill: float) -> pl.DataFrame:
        """Probabilities that are calibrated: right with 0.5 + skill."""
        right = self.random.random(len(truth)) < 0.5 + skill
        says = truth == right
        yes = np.where(says, 0.5 + skill, 0.5 - skill)
        return pl.DataFrame(
            {
                "label": np.where(says, "yes", "no"),
                "probabilities": pl.Series(np.stack([1 - yes, yes], axis=1).astype(np.float32)).arr.to_list(),
                "classes": pl.Series([list(CLASSES)], dtype=pl.List(pl.String)).new_from_index(0, len(truth)),
            }
        )

    def _write(self, name: str, rows: pl.DataFrame, columns: dict[str, Any]) -> None:
        missing = [pl.lit(None, dtype).alias(name) for name, dtype in columns.items() if name not in rows.columns]
        rows = rows.with_columns(missing).with_columns(pl.col(name).cast(dtype) for name, dtype in columns.items())
        uri = self.ledger.table(MODEL, name)
        write_deltalake(uri, rows, mode="append", partition_by="day", schema_mode="merge")


def bundle(place: Path) -> Path:
    """A bundle that the registry takes; nobody runs its model."""
    random = np.random.default_rng(7)
    place.mkdir(parents=True, exist_ok=True)
    table = inputs(2000, random).with_columns(bought=pl.Series(random.choice(CLASSES, 2000)))
    target = Target(name="bought", objective=Objective.BINARY, classes=CLASSES)
    probabilities = random.choice([0.3, 0.7], 2000).astype(np.float32)
    answers = {
        "probabilities": np.stack([1 - probabilities, probabilities], axis=1),
        "label": np.where(probabilities > 0.5, "yes", "no").astype(object),
    }
    described = manifest.compose(
        MODEL,
        Interface.of(SCHEMA, SCHEMA.inputs, target),
        target,
        data={},
        results={"test": {"metrics": []}},
        settings={"data": {"source": "files", "options": {}}},
    )
    (place / folder.MODEL).write_bytes(bytes(1000))
    (place / folder.PROFILE).write_text(
        json.dumps({"inputs": profile(table, SCHEMA), "answers": profile_answers(answers, CLASSES)})
    )
    manifest.write(described, place)
    checksums.write(place)
    return place
