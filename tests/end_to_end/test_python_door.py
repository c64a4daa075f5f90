"""`tidemill.train` is `python train.py`: the same words come to the same model."""

from pathlib import Path

import polars as pl
import pytest
from chain import MODEL, QUICK, Run, aims_at

import tidemill


@pytest.mark.slow
def test_the_same_words_come_to_the_same_model(regression: Run, table: Path, tmp_path: Path) -> None:
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
    assert (tmp_path / "run" / "bundle" / "report.html").is_file()
    by_command = tidemill.load(regression.registry, "shop", regression.result["version"])
    rows = pl.read_csv(table)
    assert trained.load().predict(rows).equals(by_command.predict(rows))
