"""A bundle as a folder: what lies in it, written in an order that ends with the checksums."""

import json
from pathlib import Path
from typing import Any

import onnx

from tidemill.bundle import checksums, golden, manifest

MODEL = "model.onnx"
PROFILE = "profile.json"
REPORT = "report.html"


def write(
    folder: Path,
    *,
    model: onnx.ModelProto,
    describes: manifest.Manifest,
    golden_rows: golden.Golden,
    profile: dict[str, Any],
    report: str,
) -> None:
    """Fill an empty folder; `Registry.add` then makes a version of it.

    Args:
        profile: the training split's distributions, that live data is compared with.
        report: one self-contained HTML document.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL).write_bytes(model.SerializeToString())
    golden.write(golden_rows, folder / golden.NAME)
    (folder / PROFILE).write_text(json.dumps(manifest.plain(profile), ensure_ascii=False), encoding="utf-8")
    (folder / REPORT).write_text(report, encoding="utf-8")
    manifest.write(describes, folder)
    checksums.write(folder)
