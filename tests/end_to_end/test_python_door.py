"""`tidemill.train` is `python train.py`: the same words come to the same model."""

import logging
from pathlib import Path

import polars as pl
import pytest
from chain import MODEL, QUICK, Run, aims_at

import tidemill


@pytest.mark.slow
def test_the_same_words_come_to_the_same_model(
    regression: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        logging.getLogger("tidemill"), "propagate", False
    )  # nobody else shows the log, as in a notebook
    trained = tidemill.train(
        "+experiment=table",
        *aims_at("spend"),
        *QUICK,
        *MODEL,
        settings={"data.path": str(table), "registry.path": str(tmp_path / "registry"), "tracking.wandb": "disabled"},
        folder=tmp_path / "run",
    )
    assert (trained.model, trained.version, trained.folder) == ("shop", "1", tmp_path / "run")
    assert trained.validation_loss == regression.result["validation_loss"]
    assert trained.report.is_file()
    said = capsys.readouterr().out
    assert "spend" in said and f"Report: {trained.report}" in said
    assert trained.passed and all(reason in said for reason in trained.reasons[:1])
    assert not logging.getLogger("tidemill").handlers
    by_command = tidemill.load(regression.registry, "shop", regression.result["version"])
    rows = pl.read_csv(table)
    assert trained.load().predict(rows).equals(by_command.predict(rows))
