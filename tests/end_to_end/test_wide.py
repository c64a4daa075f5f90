"""A table of many columns: what a bundle holds of them grows with their number, and not with its square."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tidemill.bundle import golden
from tidemill.evaluation.importance import MOST_COLUMNS
from tidemill.report.gallery import MOST_DRAWN

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PREDICT = "import sys; from tidemill import cli; sys.exit(cli.main(sys.argv[1:]))"
COLUMNS, ROWS = 800, 300


def test_eight_hundred_columns_from_csv_to_answers(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    table: dict[str, np.ndarray] = {f"n{place}": random.normal(size=ROWS).round(3) for place in range(COLUMNS // 2)}
    table |= {f"c{place}": random.choice(["a", "b", "c"], ROWS) for place in range(COLUMNS // 2)}
    table["y"] = np.where(table["n0"] + random.normal(size=ROWS) / 3 > 0, "yes", "no")
    pl.DataFrame(table).write_csv(tmp_path / "wide.csv")
    words = ["+experiment=table", "data.path=wide.csv", "data.target=y", "model=mlp", "training.max_epochs=2"]
    words += ["training.threads=1", "evaluation.baselines=[]", "tracking.wandb=disabled", "hydra.run.dir=run"]
    end = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *words],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert end.returncode == 0, end.stderr
    bundle = tmp_path / "run" / "bundle"
    rows = json.loads((bundle / "golden.json").read_text(encoding="utf-8"))["rows"]
    assert len(rows) == COLUMNS
    assert {len(values) for values in rows.values()} <= set(range(32 + golden.MOST_ROWS + 2))
    described = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    assert len(described["results"]["test"]["importance"]) <= MOST_COLUMNS
    report = (bundle / "report.html").read_text(encoding="utf-8")
    assert f"Measured are {MOST_COLUMNS} of {COLUMNS} columns" in report
    assert f"Shown are {MOST_DRAWN} of {COLUMNS + 1} columns" in report
    asked = [
        "predict",
        "--model",
        "wide",
        "--alias",
        "1",
        "--input",
        "wide.csv",
        "--output",
        "answers",
        "--workers",
        "1",
    ]
    done = subprocess.run([sys.executable, "-c", PREDICT, *asked], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert pl.read_parquet(tmp_path / "answers" / "*.parquet").height == ROWS
