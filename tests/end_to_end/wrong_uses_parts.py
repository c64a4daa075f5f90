"""A table, a finished run and a registry, and runs of train.py that differ from it in one thing."""

import hashlib
import re
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from warm import Warm

ROWS = 600
EPOCHS = "training.max_epochs=4"
QUICK = [
    *("+experiment=table", "name=m", "data.target=outcome", "model=mlp", "model.width=16", "model.depth=1", EPOCHS),
    *("training.learning_rate=0.02", "training.batch_size=32", "training.threads=1", "training.accelerator=cpu"),
    *("evaluation.baselines=[]", "evaluation.bootstrap=50", "evaluation.importance_rows=50", "tracking.wandb=disabled"),
]


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm() as warm:
        yield warm


def table() -> pl.DataFrame:
    random = np.random.default_rng(0)
    a, colour = random.normal(size=ROWS), random.choice(["red", "green", "blue"], ROWS)
    return pl.DataFrame(
        {
            "a": a,
            "b": random.normal(size=ROWS),
            "colour": colour,
            "at": [datetime(2020, 1, 1) + timedelta(hours=row) for row in range(ROWS)],
            "outcome": np.where(a + (colour == "red") + random.normal(size=ROWS) / 2 > 0.3, "yes", "no"),
        }
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every table that is used here."""
    place = tmp_path_factory.mktemp("wrong")
    good = table()
    halves = ["no"] * 500 + ["yes", "no"] * 50
    tables = {
        "good": good,
        "constant": good.with_columns(outcome=pl.lit("yes")),
        "no_target": good.with_columns(outcome=pl.lit(None, dtype=pl.String)),
        "empty_column": good.with_columns(b=pl.lit(None, dtype=pl.Float64)),
        "one_class_early": good.with_columns(outcome=pl.Series(halves)),
        "leak": good.with_columns(copy=(pl.col("outcome") == "yes").cast(pl.Int8)),
        "mail": good.with_columns(contact=pl.Series([f"person{row % 40}@example.org" for row in range(ROWS)])),
        "rare": good.with_columns(outcome=pl.Series(["rare", "no", *["yes", "no"] * 299])),
        "one_row": good[:1],
        "two_rows": good.unique("outcome", keep="first", maintain_order=True),
        "five_rows": good[:5],
        "twenty_rows": good[:20],
    }
    for name, frame in tables.items():
        frame.write_csv(place / f"{name}.csv")
    (place / "empty.csv").touch()
    (place / "header.csv").write_text("a,b,outcome\n")
    (place / "binary.csv").write_bytes(np.random.default_rng(1).bytes(5000))
    (place / "twice.csv").write_text("a,a,outcome\n" + "1,2,yes\n3,4,no\n" * 200)
    return place


def job(place: Path, name: str, *overrides: str, data: str = "good", registry: Path | None = None) -> list[str]:
    """The command line of a run in `place`/`name`; later overrides of a key take the place of earlier ones."""
    words = [*QUICK, f"data.path={place / data}.csv", f"registry.path={registry or place / name / 'registry'}"]
    words += [f"hydra.run.dir={place / name / 'run'}", *overrides]
    return list({word.split("=")[0].lstrip("+"): word for word in words}.values())


@pytest.fixture(scope="module")
def done(warm: Warm, place: Path) -> Path:
    """The folder of an uninterrupted run, the only one in `registry`."""
    end = warm.run(job(place, "done", registry=place / "registry"), place / "done")
    assert end.returncode == 0, end.stderr
    return place / "done" / "run"


@pytest.fixture(scope="module")
def registry(done: Path, place: Path) -> Path:
    return place / "registry"


def content(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def check_refusal(end: "subprocess.CompletedProcess[str]", said: str) -> None:
    assert end.returncode not in (0, 130), end.stdout
    assert "Traceback" not in end.stdout + end.stderr, end.stderr
    assert "Error executing job" not in end.stderr
    assert said in end.stderr
    message = end.stderr[re.search(r"^\w+Error: ", end.stderr, re.MULTILINE).start() :]
    three_parts = r"\w+Error: .+[.] Got:\s.+[.?]\sRemedy: .+[.?] See docs/errors\.md#\w+\n"
    assert re.fullmatch(three_parts, message, re.DOTALL), message
