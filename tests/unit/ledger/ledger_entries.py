"""Entries for the ledger's tests."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tidemill.data.schema import Column, Role, Schema
from tidemill.ledger import record
from tidemill.ledger.record import Answered, Described, Form
from tidemill.ledger.wal import Wal
from tidemill.settings import Kind

Write = Callable[..., Path]
"""What the fixture `write` is: segments and versions in, the writer's folder out."""


def turn(wal: Wal) -> None:
    """Have the newest segment closed, if it holds records, as its age does."""
    seconds, wal._seconds = wal._seconds, 0.0
    wal.tick()
    wal._seconds = seconds


AT = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z
DAY = 86_400 * 10**9

SCHEMA = Schema(
    columns=(
        Column(name="size", kind=Kind.NUMERIC),
        Column(name="color", kind=Kind.CATEGORICAL, missing_marks=("?",)),
        Column(name="new", kind=Kind.BOOLEAN),
        Column(name="seen", kind=Kind.TIMESTAMP),
        Column(name="person", kind=Kind.CATEGORICAL, role=Role.SENSITIVE, missing_allowed=False),
        Column(name="note", kind=Kind.CATEGORICAL, role=Role.IGNORED),
        Column(name="bought", kind=Kind.CATEGORICAL, role=Role.TARGET),
    )
)
ROW = {"size": 1.5, "color": "red", "new": True, "seen": "2013-06-30T14:05:00+02:00"}


def described(version: str = "1", schema: Schema = SCHEMA, classes: tuple[str, ...] = ("no", "yes")) -> Described:
    return Described(version, schema.to_dict(), "binary" if classes else "regression", classes)


def answers(count: int = 1) -> dict[str, np.ndarray]:
    probabilities = np.tile(np.array([0.25, 0.75], np.float32), (count, 1))
    return {"probabilities": probabilities, "label": np.array(["yes"] * count, np.object_)}


def regression(count: int = 1) -> dict[str, np.ndarray]:
    return {name: np.full(count, value, np.float32) for name, value in (("value", 2), ("lower", 1), ("upper", 3))}


def answered(id: str = "aa-1", sent: list[dict[str, Any]] | None = None, **changes: Any) -> Answered:
    sent = [ROW] if sent is None else sent
    values: dict[str, Any] = {
        "id": id,
        "at": AT,
        "version": "1",
        "role": record.Role.CHAMPION,
        "propensity": 1.0,
        "latency": 345,
        "form": Form.ROWS,
        "inputs": json.dumps({"rows": sent}).encode(),
        "rows": None,
        "answers": answers(len(sent)),
    }
    return Answered(**{**values, **changes})


def in_columns(columns: dict[str, list[Any]]) -> dict[str, Any]:
    """What changes in an entry whose inputs stand by columns."""
    count = len(next(iter(columns.values())))
    return {"form": Form.COLUMNS, "inputs": msgspec.msgpack.encode(columns), "answers": answers(count)}
