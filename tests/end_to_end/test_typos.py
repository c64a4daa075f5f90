"""A mistyped word is refused before torch is imported, and leaves no folder behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # each word is a start of train.py

ROOT = Path(__file__).parents[2]
PROGRAM = """
import atexit, sys
sys.path.insert(0, sys.argv.pop(1))
HEAVY = {"torch", "lightning", "sklearn", "wandb", "onnx", "plotly", "lightgbm"}
atexit.register(lambda: print("imported:", *sorted(HEAVY & set(sys.modules))))
import runpy
sys.argv[0] = sys.path[0] + "/train.py"
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def train(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """In a folder of its own, with the table `good.csv` in it."""
    (folder / "good.csv").write_text("a,b,y\n" + "1,2,yes\n3,4,no\n" * 50)
    chosen = {"data.path": "good.csv", "data.target": "y"} | dict(word.split("=", 1) for word in words)
    given = [f"{key}={value}" for key, value in chosen.items()]
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ROOT), "+experiment=table", *given],
        cwd=folder,
        env={**os.environ, "WANDB_API_KEY": ""},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data.path=god.csv"], "data.path must exist. Got: no file god.csv. Remedy: correct data.path; did you mean"),
        (["data.target=yy"], "A column that data.target names must be in the table. Got: 'yy';"),
        (["data.ignored=[A1]", "data.key=b"], "A column that data.ignored names must be in the table. Got: 'A1';"),
        (["data.schema=none.yaml"], "data.schema must name a readable YAML file. Got: none.yaml:"),
        (["data.test_path=none.csv"], "no file none.csv"),
        (["training.max_minutes=0"], "training.max_minutes = 0.0: must be greater than 0"),
        (["training.max_epoch=3"], "Remedy: write training.max_epochs."),
        (["training.resume=nowhere"], "training.resume must name a run's folder or its checkpoint. Got: nowhere,"),
        (["tracking.wandb=online", "hydra.run.dir=mine"], "tracking.wandb=online needs a W&B API key."),
    ],
)
def test_a_mistyped_word_is_refused_before_torch_is_imported_and_leaves_no_folder(
    tmp_path: Path, words: list[str], said: str
) -> None:
    end = train(tmp_path, *words)
    assert end.returncode == 1
    assert said in end.stderr, end.stderr
    imported = end.stdout.split("imported:")[1].split()
    assert set(imported) <= ({"wandb"} if "W&B" in said else set())
    assert {path.name for path in tmp_path.iterdir()} == {"good.csv"}
