"""What the tests of retraining share: settings, a champion, a ledger with answers and labels."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from tidemill.composition import build
from tidemill.data.schema import Schema
from tidemill.ledger import frames, record
from tidemill.ledger.record import Answered, Described, Form, Label
from tidemill.ledger.settings import Fsync, LedgerSettings
from tidemill.ledger.shipper import Shipper
from tidemill.ledger.wal import Wal
from tidemill.steward.retraining.command import RetrainSettings


def settings(**changes: Any) -> RetrainSettings:
    values = {
        "command": ["python", "train.py", "+experiment=flights"],
        "history": "full",
        "window_days": None,
        "half_life_days": None,
        "warm_start": True,
        "validation_days": 14,
        "test_days": 7,
        "min_records": 10,
        "mature_share": 0.95,
        "runner": "process",
        "ray_address": None,
        "threads": 1,
        "priority": "normal",
        "attempts": 3,
        "hours": 24,
    }
    return build(RetrainSettings, {**values, **changes}, "retrain")


def ledger(folder: Path) -> LedgerSettings:
    return LedgerSettings(path=str(folder / "ledger"), fsync=Fsync.NEVER)


def record_answers(
    settings: LedgerSettings, model: str, schema: Schema, rows: list[dict[str, Any]], labels: list[Any], start: datetime
) -> None:
    """One request a row, an hour apart, each with its label a minute later, through the ledger's own files."""
    folder = settings.segments(model)
    writer = Wal(folder, fsync=Fsync.NEVER, segment_seconds=3600)
    classes = ("false", "true") if any(isinstance(one, str) for one in labels) else ()
    writer.describe(frames.described(Described("1", schema.to_dict(), "binary", classes)))
    for number, (row, label) in enumerate(zip(rows, labels, strict=True)):
        at = int((start + timedelta(hours=number)).timestamp()) * 10**9
        entry = Answered(
            id=f"q{number}",
            at=at,
            version="1",
            role=record.Role.CHAMPION,
            propensity=1.0,
            latency=9,
            form=Form.ROWS,
            inputs=json.dumps({"rows": [row]}).encode(),
            rows=None,
            answers={"probabilities": np.array([[0.5, 0.5]], np.float32)},
        )
        writer.append([frames.answered(entry), frames.label(Label(f"q{number}-0", label, at + 60 * 10**9))])
    writer.close()
    Shipper(settings, model, folder).run()


START = datetime(2026, 1, 1, tzinfo=UTC)
