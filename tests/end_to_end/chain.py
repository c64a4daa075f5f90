"""The chain from outside: a table is made, `python train.py` is run on it, and what lies there afterwards is read."""

import csv
import json
import math
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

ROOT = Path(__file__).parents[2]
QUICK = ["training.threads=1", "training.accelerator=cpu", "evaluation.bootstrap=50", "evaluation.importance_rows=50"]
MODEL = ["model=mlp", "model.width=32", "model.depth=1", "model.dropout=0", "training.learning_rate=0.01"]
MODEL += ["training.max_epochs=8"]
MISSING_TIMESTAMP = -(2**63)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run of train.py, or a sweep. output: what it said on stdout."""

    folder: Path
    registry: Path
    output: str

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return json.loads((self.bundle / "manifest.json").read_text())

    @cached_property
    def result(self) -> dict[str, Any]:
        return json.loads((self.folder / "result.json").read_text())

    @cached_property
    def name(self) -> str:
        match = re.search(r"^(\S+) version \S+ is ", self.output, flags=re.MULTILINE)
        assert match, self.output
        return match.group(1)

    @cached_property
    def bundle(self) -> Path:
        return self.registry / self.name / self.result["version"]


def train(folder: Path, registry: Path, *overrides: str, multirun: bool = False) -> Run:
    """Run train.py as someone would, with `folder` for its own; it must end well, and nothing may warn."""
    where = f"hydra.sweep.dir={folder}" if multirun else f"hydra.run.dir={folder}"
    words = [*(["-m"] if multirun else []), *overrides, where, f"registry.path={registry}"]
    if not any(word.startswith("tracking.wandb=") for word in words):
        words.append("tracking.wandb=disabled")
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "train.py", *words], cwd=ROOT, env=_clean(folder), capture_output=True, text=True
    )
    print(f"{time.monotonic() - began:.1f} s: python train.py {' '.join(words)}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stderr.lower(), done.stderr
    return Run(folder=folder, registry=registry, output=done.stdout)


def _clean(folder: Path) -> dict[str, str]:
    """As on a clean machine: no account, and no files of its user."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return {**kept, "HOME": str(folder.parent), "NETRC": str(folder.parent / "no-netrc")}


def shop(path: Path, rows: int = 900) -> Path:
    """A table with every kind of column and role, and a target for each objective, as CSV."""
    random = np.random.default_rng(1)
    header = ["id", "size", "price", "city", "open", "at", "sex", "w", "bought", "grade", "spend"]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        for row in range(rows):
            size, price = random.normal(50, 20), random.lognormal(3, 1)
            city = random.choice(["Zürich", "New York, NY", "東京", 'a "quoted" town'], p=[0.4, 0.3, 0.28, 0.02])
            opened = bool(random.random() < 0.5)
            at = datetime(2013, 1, 1) + timedelta(minutes=int(random.integers(0, 400_000)))
            score = (size - 50) / 10 + 2 * (city == "東京") + 1.5 * opened + random.normal()
            writer.writerow(
                [
                    f"r{row}",
                    "" if row % 13 == 0 else repr(float(size)),
                    repr(float(price)),
                    "" if row % 17 == 0 else city,
                    str(opened).lower(),
                    at.strftime("%Y-%m-%d %H:%M:%S"),
                    random.choice(["f", "m"]),
                    repr(float(random.uniform(0.5, 2))),
                    "yes" if score > 1 else "no",
                    "high" if score > 2 else "mid" if score > 0 else "low",
                    repr(float(100 * score + price)),
                ]
            )
    return path


ROLES = ["data.key=id", "data.sensitive=[sex]", "data.weight=w"]
TARGETS = ("bought", "grade", "spend")


def aims_at(target: str) -> list[str]:
    """The table holds three targets; the other two tell each of them."""
    others = ",".join(name for name in TARGETS if name != target)
    return [f"data.target={target}", f"data.ignored=[{others}]", *ROLES]


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def raw_arrays(records: list[dict[str, str]], manifest: dict[str, Any]) -> dict[str, np.ndarray]:
    """Texts of a table by the raw input contract, from what the manifest says of it and nothing else."""
    arrays = {}
    for entry in manifest["interface"]["inputs"]:
        texts = [record[entry["name"]] for record in records]
        arrays[entry["name"]] = _DOORS[entry["kind"]](texts)
    return arrays


_TRUTH = {"true": 1.0, "false": 0.0, "": math.nan}
_DOORS = {
    "numeric": lambda texts: np.array([float(text or "nan") for text in texts]),
    "boolean": lambda texts: np.array([_TRUTH[text] for text in texts]),
    "categorical": lambda texts: np.array(texts, dtype=object),
    "timestamp": lambda texts: np.array([_microseconds(text) for text in texts], dtype=np.int64),
}


def _microseconds(text: str) -> int:
    if not text:
        return MISSING_TIMESTAMP
    since = datetime.fromisoformat(text).replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return since // timedelta(microseconds=1)


class Plain:
    """A bundle's model.onnx in plain ONNX Runtime."""

    def __init__(self, bundle: Path) -> None:
        self.manifest = json.loads((bundle / "manifest.json").read_text())
        self.session = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])

    def __call__(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = self.manifest["interface"]["outputs"]
        found = self.session.run([output["tensor"] for output in outputs], arrays)
        return dict(zip([output["name"] for output in outputs], found, strict=True))
