"""Every choice of conf/debug lives through a whole run on a small table, and does what it says."""

import json
from pathlib import Path
from typing import Any

import pytest
from chain import ROOT, Run, aims_at, shop, train

pytestmark = pytest.mark.slow

NETWORK = ["model=mlp", "model.width=64", "model.depth=1", "model.dropout=0", "training.threads=1"]


def debug(choice: str, place: Path, *words: str) -> Run:
    table = shop(place / "shop.csv", rows=2300)
    job = ["+experiment=table", f"data.path={table}", *aims_at("bought"), *NETWORK, "training.accelerator=cpu"]
    return train(place / "run", place / "registry", *job, f"+debug={choice}", *words)


def losses(run: Run, split: str) -> list[float]:
    return [float(line[split]) for line in lines(run)]


def lines(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.folder / "history.jsonl").read_text().splitlines()]


def test_fast_is_one_epoch_on_few_rows(tmp_path: Path) -> None:
    run = debug("fast", tmp_path)
    assert len(lines(run)) == 1
    assert sum(run.manifest["data"]["rows"].values()) == 2000


def test_overfit_learns_one_batch_by_heart(tmp_path: Path) -> None:
    run = debug("overfit", tmp_path)
    assert [line["step"] for line in lines(run)] == list(range(1, 201)), "one step is an epoch"
    assert losses(run, "train_loss")[-1] < 0.05 < losses(run, "train_loss")[0]
    assert losses(run, "validation_loss")[-1] < 0.05, "of the rows it learned"


def test_limit_is_the_run_as_it_is_on_the_first_rows(tmp_path: Path) -> None:
    run = debug("limit", tmp_path, "data.limit=700", "training.max_epochs=2", "evaluation.bootstrap=50")
    assert sum(run.manifest["data"]["rows"].values()) == 700
    baselines = {baseline["name"] for baseline in run.manifest["results"]["test"]["baselines"]}
    assert {"linear", "boosting"} <= baselines, "nothing is left out"


def test_profiler_says_where_training_spent_its_time(tmp_path: Path) -> None:
    run = debug("profiler", tmp_path)
    (file,) = (run.folder / "profile").iterdir()
    assert "optimizer_step" in file.read_text()
    assert str(run.folder / "profile") in run.output
    assert sum(run.manifest["data"]["rows"].values()) == 2300


def test_every_choice_is_run() -> None:
    """`default` is what the others begin with."""
    tests = {name.removeprefix("test_").split("_")[0] for name in globals() if name.startswith("test_")} - {"every"}
    assert {*tests, "default"} == {path.stem for path in (ROOT / "conf" / "debug").glob("*.yaml")}
