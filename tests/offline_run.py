"""What an offline W&B run holds, read from its files."""

import json
import struct
from collections import defaultdict
from pathlib import Path
from typing import Any


def records(folder: Path, kind: str) -> list[Any]:
    """The records of one kind in a run's .wandb file: a seven-byte head, then a LevelDB log of 32 KiB blocks."""
    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()  # its service writes in the background, up to the end of the process
    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    content, position, parts, found = file.read_bytes(), 7, [], []
    assert content[:4] == b":W&B"
    while position < len(content):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, part = struct.unpack_from("<IHB", content, position)
        position += 7
        parts.append(content[position : position + length])
        position += length
        if part in (1, 4):  # a whole record, or the last part of one
            record = wandb_internal_pb2.Record.FromString(b"".join(parts))
            parts = []
            if record.WhichOneof("record_type") == kind:
                found.append(getattr(record, kind))
    return found


def config(folder: Path) -> dict[str, Any]:
    run = records(folder, "run")[0]
    return {entry.key: json.loads(entry.value_json) for entry in run.config.update}


def history(folder: Path) -> dict[int, dict[str, Any]]:
    """What was logged, by step."""
    steps: dict[int, dict[str, Any]] = defaultdict(dict)
    for record in records(folder, "history"):
        steps[record.step.num] |= {".".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.item}
    return steps


def summary(folder: Path) -> dict[str, Any]:
    return {item.key: json.loads(item.value_json) for record in records(folder, "summary") for item in record.update}


def media(folder: Path, name: str) -> Any:
    """The file that a table or figure of the history points at."""
    logged = {key: value for values in history(folder).values() for key, value in values.items()}
    path = logged[f"{name}.path"] if f"{name}.path" in logged else logged[name]["path"]
    (file,) = folder.glob(f"wandb/offline-run-*/files/{path}")
    return json.loads(file.read_text())
