"""`python train.py -m …` ends in a ranking on validation figures; two processes agree with one."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from chain import MODEL, QUICK, Plain, Run, aims_at, raw_arrays, read_csv, train

pytestmark = pytest.mark.slow

FAILS = "training.learning_rate=1e+30"


@pytest.fixture(scope="module")
def sweep(place: Path, table: Path) -> Run:
    """Two models, and each of them once with a learning rate that ends in NaN."""
    job = ["+experiment=table", f"data.path={table}", *aims_at("bought"), *QUICK, "training.max_epochs=3"]
    grid = ["model=linear,mlp", f"{FAILS},0.01"]
    return train(place / "sweep", place / "registry_sweep", *job, *grid, multirun=True)


@pytest.fixture(scope="module")
def ranking(sweep: Run) -> list[dict[str, str]]:
    with (sweep.folder / "ranking.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_the_ranking_is_by_validation_loss(sweep: Run, ranking: list[dict[str, str]]) -> None:
    assert [line["rank"] for line in ranking] == ["1", "2", "3", "4"]
    assert [line["status"] for line in ranking] == ["done", "done", "failed", "failed"]
    losses = [float(line["validation_loss"]) for line in ranking[:2]]
    assert losses == sorted(losses)
    for line in ranking:
        assert (FAILS in line["overrides"]) == (line["status"] == "failed")
        result = json.loads((sweep.folder / line["folder"] / "result.json").read_text())
        assert " ".join(result["overrides"]) == line["overrides"]
    models = [next(word for word in line["overrides"].split() if word.startswith("model=")) for line in ranking]
    assert set(models[:2]) == set(models[2:]) == {"model=linear", "model=mlp"}


def test_a_failed_trial_is_listed_and_stops_nothing(sweep: Run, ranking: list[dict[str, str]]) -> None:
    for line in ranking[2:]:
        assert line["validation_loss"] == ""
        assert "training.learning_rate" in line["error"]
    order = [line["overrides"] for line in sorted(ranking, key=lambda line: int(line["folder"]))]
    assert FAILS in order[0]  # it failed first, and the others came after
    assert "Ranking by validation loss" in sweep.output
    assert sweep.output.count("failed: The loss must stay finite.") == 2
    assert "model=mlp" in sweep.output[sweep.output.index("Train the best and test it: python train.py") :]


def test_no_trial_opens_the_test_split(sweep: Run, ranking: list[dict[str, str]]) -> None:
    assert "Opening the test split" not in sweep.output
    assert not sweep.registry.exists()
    names = {path.name for path in sweep.folder.rglob("*")}
    assert not names & {"bundle", "model.onnx", "manifest.json", "report.html"}
    assert not [name for name in ranking[0] if "test" in name]
    assert {line["version"] for line in ranking} == {""}


@pytest.fixture(scope="module")
def two_processes(place: Path, table: Path) -> Run:
    """The regression run, by two processes."""
    job = ["+experiment=table", f"data.path={table}", *aims_at("spend"), *QUICK, *MODEL]
    return train(place / "two", place / "registry_two", *job, "training.devices=2")


def test_two_processes_agree_with_one(regression: Run, two_processes: Run, table: Path) -> None:
    alone, both = ((run.folder / "history.jsonl").read_text().splitlines() for run in (regression, two_processes))
    assert len(alone) == len(both) == 8
    for one, two in zip(map(json.loads, alone), map(json.loads, both), strict=True):
        assert two["step"] == one["step"]
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-3)
        assert two["validation_loss"] == pytest.approx(one["validation_loss"], rel=1e-3)
    records = read_csv(table)
    one, two = (Plain(run.bundle)(raw_arrays(records, run.manifest))["value"] for run in (regression, two_processes))
    assert np.abs(two - one).max() < 1e-2 * one.std()
