"""What W&B gets from a run, read from its offline file."""

from pathlib import Path

import pytest
from chain import Run

from offline_run import config, history, records, summary

pytestmark = pytest.mark.slow


def test_the_offline_run_holds_settings_and_metrics_by_step(binary: Run) -> None:
    kept = config(binary.folder)
    assert kept["name"] == "shop"
    assert kept["training"] == binary.manifest["settings"]["training"]
    assert kept["data"]["target"] == "bought"
    lines = [values for _, values in sorted(history(binary.folder).items())]
    losses = [values["validation_loss"] for values in lines if "validation_loss" in values]
    assert len(losses) == 8
    assert min(losses) == pytest.approx(binary.result["validation_loss"])


def test_the_offline_run_holds_results(binary: Run) -> None:
    told = summary(binary.folder)
    figures = {metric["name"]: metric["value"] for metric in binary.manifest["results"]["test"]["metrics"]}
    assert {name: told[f"test/{name}"] for name in figures} == pytest.approx(figures)
    assert told["version"] == "1"
    assert told["gate_passed"] is True
    logged = {key.split(".")[0] for values in history(binary.folder).values() for key in values}
    assert {"roc", "reliability", "learning_curves", "metrics", "baselines", "slices"} <= logged


def test_the_offline_run_holds_the_bundle(binary: Run) -> None:
    (artifact,) = [artifact for artifact in records(binary.folder, "artifact") if artifact.type == "model"]
    assert artifact.name == "shop-bundle"
    contents = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
    assert set(contents) == {path.name for path in binary.bundle.iterdir()}
    for name in ("model.onnx", "golden.json", "report.html"):
        assert contents[name].read_bytes() == (binary.bundle / name).read_bytes()


def test_disabled_leaves_no_trace(regression: Run) -> None:
    assert not list(regression.folder.rglob("*wandb*"))
