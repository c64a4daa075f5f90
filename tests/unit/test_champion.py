"""The champion at the gate: it reads the test rows by its own schema, whatever the new version makes of them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
import yaml

from tidemill.bundle import checksums
from tidemill.bundle.predictor import Predictor
from tidemill.bundle.registry.gate import Contender, Verdict
from tidemill.bundle.registry.registry import Registry
from tidemill.champion import challenge
from tidemill.composition import build
from tidemill.data import dataset
from tidemill.data.dataset import Dataset
from tidemill.data.raw import from_table
from tidemill.settings import DataSettings, GateSettings, Settings

TABLE = Path(__file__).parents[2] / "conf" / "data" / "table.yaml"
Challenge = Callable[..., tuple[Verdict, Dataset]]


@pytest.fixture
def challenged(small_multiclass: Any, tmp_path: Path) -> Challenge:
    """A version that is trained on the champion's own rows, with other kinds, and answers as the champion does."""
    registry = Registry(tmp_path / "registry")
    path = tmp_path / "table.csv"

    def challenge_with(
        change: Callable[[pl.DataFrame], pl.DataFrame] = lambda table: table, trained_on: Any = None, **data: Any
    ) -> Any:
        folder = shutil.copytree(small_multiclass.folder, tmp_path / "bundle")
        described = json.loads((folder / "manifest.json").read_text())
        described["data"] |= trained_on(path) if trained_on else {}
        (folder / "manifest.json").write_text(json.dumps(described))
        checksums.write(folder)
        registry.add("small", folder)
        registry.promote("small", "1", by="me", reason="first")
        change(small_multiclass.table.with_columns(pl.col("value").cast(pl.Int64))).write_csv(path)
        values = yaml.safe_load(TABLE.read_text()) | {"path": str(path), "target": "grade", **data}
        settings = SimpleNamespace(
            data=build(DataSettings, values, "data"), name="small", gate=GateSettings(margin=0.01, level=0.95), seed=0
        )
        found = dataset.load(settings.data, tmp_path)
        test = found.splits.test.open("a test")
        champion = Predictor(small_multiclass.folder)
        same = test.select(
            "size", pl.col("value").cast(pl.Float64, strict=False), "city", "open", "at", constant=pl.lit(1.0)
        )
        new = Contender(target=found.target, answers=champion.predict(from_table(same, champion.columns)))
        return challenge(cast(Settings, settings), registry, found, test, new, ()), found

    return challenge_with


@pytest.mark.parametrize("kinds", [{}, {"value": "categorical"}])
def test_the_champion_reads_the_same_rows_by_its_own_kinds(challenged: Challenge, kinds: dict[str, str]) -> None:
    verdict, _ = challenged(kinds=kinds)
    assert verdict.comparison is not None and verdict.passed, verdict.reasons
    assert verdict.comparison.rows == 80 and np.allclose(verdict.comparison.difference, 0, atol=1e-6)


@pytest.mark.parametrize(("every", "compared"), [(20, True), (4, False)])
def test_rows_that_the_champion_cannot_read_are_left_out_and_told(
    challenged: Challenge, every: int, compared: bool
) -> None:
    def odd(table: pl.DataFrame) -> pl.DataFrame:
        unknown = pl.int_range(pl.len()) % every == 3
        return table.with_columns(value=pl.when(unknown).then(pl.lit("n/k")).otherwise(pl.col("value").cast(pl.String)))

    verdict, found = challenged(odd, kinds={"value": "categorical"})
    if not compared:
        assert verdict.comparison is None and "reads at least 90% of the test rows" in verdict.reasons[0]
        return
    assert verdict.comparison is not None and 70 < verdict.comparison.rows < found.splits.test.rows == 80
    assert verdict.reasons[-1] == f"Compared on the {verdict.comparison.rows} of 80 test rows that champion 1 can read."


RANDOM = {"method": "random", "validation": 0.2, "test": 0.2, "seed": 0}
RANDOM |= {"validation_from": None, "test_from": None, "absent_classes": "stop"}
OTHER = RANDOM | {"seed": 1}


@pytest.mark.parametrize(
    ("file", "split", "warned"),
    [
        ("table.csv", OTHER, True),
        ("table.csv", RANDOM, True),
        ("other.csv", OTHER, False),
    ],
    ids=["another split", "another random split, of another state of the file", "another table"],
)
def test_a_champion_that_may_have_learnt_from_the_test_rows_is_named(
    challenged: Challenge, file: str, split: dict[str, Any], warned: bool
) -> None:
    def trained_on(path: Path) -> dict[str, Any]:
        return {"fingerprint": "of another state", "source": str(path.with_name(file)), "split": split}

    verdict, _ = challenged(trained_on=trained_on)
    assert warned == any("may have learnt from some of these test rows" in reason for reason in verdict.reasons)


def test_a_column_that_is_gone_is_named_with_what_to_do(challenged: Challenge) -> None:
    def rename(table: pl.DataFrame) -> pl.DataFrame:
        return table.rename({"constant": "c2"})

    verdict, _ = challenged(rename)
    assert not verdict.passed and verdict.comparison is None
    (reason,) = verdict.reasons
    assert reason.startswith("Champion 1 cannot be compared on these test rows, and stays: A champion is compared on")
    assert "no column 'constant'" in reason and "tidemill registry promote small NUMBER" in reason
    assert "typed.apply" not in reason
