"""The model that serving's benchmarks ask: a small perceptron on 20 raw columns, 8 of them text, from our pipeline.

The table is made from a seed. Two versions (two seeds) give different answers, so that a benchmark can tell which of
them answered. Trained once into a folder, and found there by the next benchmark.
"""

import io
import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl

ROOT = Path(__file__).parents[3]
NAME = "small"
ROWS = 20_000
ASKED = 256  # rows that requests are made of
CARDINALITIES = (4, 6, 8, 12, 20, 50, 120, 300)  # of the text columns
SETTINGS = [
    "model=mlp_small",
    "model.width=128",
    "model.embedding.numeric=none",
    "training.max_epochs=3",
    "training.batch_size=256",
    "training.threads=1",
    "evaluation.importance_rows=0",
    "evaluation.baselines=[]",
    "tracking.wandb=disabled",
]

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Model:
    """A registry with versions 1 and 2 of the model, 1 as champion, and the table it was trained on.

    elsewhere: a registry in another folder than the table's.
    """

    folder: Path
    elsewhere: Path | None = None

    @property
    def registry(self) -> Path:
        return self.elsewhere or self.folder / "registry"

    @property
    def plan(self) -> Path:
        """What peers are started with; see peers/scoring.py."""
        return self.folder / "plan.json"

    def bundle(self, version: str) -> Path:
        return self.registry / NAME / version

    @cached_property
    def table(self) -> pl.DataFrame:
        """The rows that are asked about, without the target."""
        return pl.read_parquet(self.folder / "table.parquet").tail(ASKED).drop("outcome")

    @cached_property
    def rows(self) -> Rows:
        return self.table.to_dicts()

    def expected(self, version: str) -> np.ndarray:
        """Probabilities [ASKED, 2] of `rows` by ONNX Runtime."""
        session = onnxruntime.InferenceSession(self.bundle(version) / "model.onnx", providers=["CPUExecutionProvider"])
        given = {
            name: values.to_numpy() if values.dtype == pl.Float64 else np.array(values.to_list(), np.object_)
            for name, values in self.table.to_dict().items()
        }
        found: np.ndarray = session.run(["probabilities"], given)[0]
        return found


def prepare(folder: Path) -> Model:
    """The model in `folder`, trained there first where it is not (about a minute)."""
    model = Model(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "table.parquet").exists():
        _table().write_parquet(folder / "table.parquet")
    for version, seed in (("1", 0), ("2", 1)):
        if not model.bundle(version).exists():
            _train(folder / "table.parquet", model.registry, seed)
    _promote(model, "1")
    columns = {name: "numeric" if kind == pl.Float64 else "categorical" for name, kind in model.table.schema.items()}
    plan = {"model": str(model.bundle("1") / "model.onnx"), "columns": columns, "classes": ["no", "yes"]}
    model.plan.write_text(json.dumps(plan))
    return model


def prepare_other(model: Model) -> Path:
    """A bundle that clients of the model cannot use: its first text column is a number there."""
    path, registry = model.folder / "other.parquet", model.folder / "other-registry"
    bundle = registry / NAME / "1"
    if not bundle.exists():
        lengths = pl.col("text_0").str.len_chars().cast(pl.Float64) + pl.col("number_0")
        _table().with_columns(text_0=lengths).write_parquet(path)
        _train(path, registry, 0)
    return bundle


def rows_body(rows: Rows) -> bytes:
    """What `POST /predict` takes."""
    return json.dumps({"rows": rows}, separators=(",", ":")).encode()


def tensors_body(rows: Rows, *, two_dimensions: bool = False) -> bytes:
    """The same rows by the Open Inference Protocol; shape [N], or [N, 1] where a server only takes that."""
    shape = [len(rows), 1] if two_dimensions else [len(rows)]
    inputs = [
        {
            "name": name,
            "shape": shape,
            "datatype": "FP64" if isinstance(value, float) else "BYTES",
            "data": [row[name] for row in rows],
        }
        for name, value in rows[0].items()
    ]
    return json.dumps({"inputs": inputs}, separators=(",", ":")).encode()


def records_body(rows: Rows) -> bytes:
    """What MLflow takes."""
    return json.dumps({"dataframe_records": rows}, separators=(",", ":")).encode()


def arrow_body(rows: Rows) -> bytes:
    """One Arrow IPC stream."""
    buffer = io.BytesIO()
    pl.DataFrame(rows).write_ipc_stream(buffer, compat_level=pl.CompatLevel.oldest())
    return buffer.getvalue()


def probabilities(body: bytes) -> np.ndarray:
    """[N, 2] from an answer of any of the servers, JSON or Arrow."""
    if not body.startswith(b"{"):
        return pl.read_ipc_stream(io.BytesIO(body)).select(pl.selectors.starts_with("probability_")).to_numpy()
    content = json.loads(body)
    if "outputs" in content:
        flat = next(output["data"] for output in content["outputs"] if output["name"] == "probabilities")
        return np.array(flat, np.float32).reshape(-1, 2)
    return np.array([list(each["probabilities"].values()) for each in content["predictions"]], np.float32)


def _table() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    numbers = {f"number_{i}": rng.normal(loc=i, scale=10.0 ** (i % 4), size=ROWS) for i in range(12)}
    codes = [rng.integers(0, size, ROWS) for size in CARDINALITIES]
    effects = sum(rng.normal(scale=0.5, size=size)[code] for size, code in zip(CARDINALITIES, codes, strict=True))
    logits = effects + numbers["number_0"] + 0.05 * numbers["number_1"]
    outcome = np.where(rng.random(ROWS) < 1 / (1 + np.exp(-logits)), "yes", "no")
    texts = {f"text_{i}": [f"category {number}" for number in code] for i, code in enumerate(codes)}
    return pl.DataFrame(numbers | texts | {"outcome": outcome})


def _train(table: Path, registry: Path, seed: int) -> None:
    where = [f"data.path={table}", f"registry.path={registry}", f"hydra.run.dir={table.parent}/run-{table.stem}-{seed}"]
    command = [sys.executable, "train.py", "+experiment=table", f"name={NAME}", "data.target=outcome", f"seed={seed}"]
    done = subprocess.run([*command, *where, *SETTINGS], cwd=ROOT, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(f"training the model failed: {done.stderr[-2000:]}")


def _promote(model: Model, version: str) -> None:
    from tidemill.bundle.registry.registry import Registry

    registry = Registry(model.registry)
    if registry.aliases(NAME).get("champion") != version:
        registry.promote(NAME, version, by="benchmark", reason="where every benchmark begins")
