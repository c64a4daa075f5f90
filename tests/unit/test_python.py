"""The Python door: the answers of every other door, whatever holds the rows, and the same errors."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import tidemill
from tidemill.bundle.predictor import Predictor
from tidemill.bundle.registry.registry import Registry
from tidemill.data.raw import from_table
from tidemill.errors import RegistryError, RequestError, SettingsError
from tidemill.python import _composed
from tidemill.settings import overrides

INPUTS = ["size", "value", "city", "open", "at", "constant"]
ROW = {"size": 61.5, "city": "Zürich", "open": True, "at": "2013-05-06T07:08:09"}


@pytest.fixture
def model(small: Any, tmp_path: Path) -> tidemill.Model:
    return registered(small, tmp_path)


@pytest.fixture
def multiclass(small_multiclass: Any, tmp_path: Path) -> tidemill.Model:
    return registered(small_multiclass, tmp_path)


def registered(small: Any, folder: Path) -> tidemill.Model:
    registry = Registry(folder / "registry")
    registry.promote("small", registry.add("small", small.folder), by="test", reason="test")
    return tidemill.load(folder / "registry", "small", threads=1)


HOLDERS = {
    "polars": lambda table: table,
    "lazy": lambda table: table.lazy(),
    "pandas": lambda table: table.to_pandas(),
    "arrow table": lambda table: table.to_arrow(),
    "arrow batch": lambda table: table.to_arrow().combine_chunks().to_batches()[0],
    "dicts": lambda table: table.to_dicts(),
    "dicts of NumPy's": lambda table: table.to_pandas().to_dict("records"),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_answers_are_the_predictors_whatever_holds_the_rows(small: Any, model: tidemill.Model, holder: str) -> None:
    predictor = Predictor(small.folder, threads=1)
    expected = predictor.predict(from_table(small.table, predictor.columns))
    table = small.table.select(INPUTS).with_columns(pl.col("city").replace("", None), pl.col("size").fill_nan(None))
    found = model.predict(HOLDERS[holder](table))
    assert found.height == table.height
    if small.target.classes:
        assert found.columns == ["label", *(f"probability_{name}" for name in small.target.classes)]
        assert found["label"].to_list() == expected["label"].tolist()
        shares = found.select(pl.exclude("label")).to_numpy()
        np.testing.assert_allclose(shares, expected["probabilities"], rtol=0, atol=1e-6)
    else:
        assert found.columns == ["value", "lower", "upper"]
        np.testing.assert_allclose(found["value"], expected["value"], rtol=1e-6)


def test_many_rows_and_none(multiclass: tidemill.Model, small_multiclass: Any) -> None:
    table = pl.concat([small_multiclass.table.select(INPUTS)] * 30)
    assert multiclass.predict(table).height == 12_000
    assert multiclass.predict(table.clear()).height == 0
    assert multiclass.predict([]).height == 0
    assert multiclass.predict(pl.DataFrame()).height == 0


def test_what_the_training_table_has_besides_may_be_there(multiclass: tidemill.Model, small_multiclass: Any) -> None:
    with_target = small_multiclass.table.select(*INPUTS, "grade")
    assert multiclass.predict(with_target).equals(multiclass.predict(with_target.drop("grade")))
    assert multiclass.predict([{**ROW, "grade": "low"}]).equals(multiclass.predict([ROW]))


def test_times_and_gaps_of_python_and_pandas(multiclass: tidemill.Model) -> None:
    expected = multiclass.predict([ROW])
    at = datetime(2013, 5, 6, 7, 8, 9)
    for value in (at, at.replace(tzinfo=UTC), pd.Timestamp(at), np.datetime64(at)):
        assert multiclass.predict([{**ROW, "at": value}]).equals(expected), value
    zoned = pa.table(
        {**{name: [value] for name, value in ROW.items()}, "at": pa.array([at], pa.timestamp("us", "+05:30"))}
    )
    assert multiclass.predict(zoned).equals(expected)
    without = multiclass.predict([{**ROW, "city": None, "at": None}])
    assert multiclass.predict([{**ROW, "city": pd.NA, "at": pd.NaT}]).equals(without)
    assert multiclass.predict(pl.DataFrame([{**ROW, "city": None}]).drop("at")).equals(without)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ctiy": "x"}, "row 0, unknown column \"ctiy\"\\. Remedy: did you mean 'city'"),
        ({"open": None}, "row 0, column 'open' \\(boolean\\) is missing"),
        ({"size": "large"}, "row 0, column 'size': \"large\""),
        ({"at": "someday"}, "row 0, column 'at': \"someday\""),
    ],
)
@pytest.mark.parametrize("holder", ["polars", "pandas", "arrow table", "dicts"])
def test_what_cannot_be_read_is_named(
    multiclass: tidemill.Model, holder: str, changes: dict[str, Any], said: str
) -> None:
    table = pl.DataFrame([{**ROW, **changes}])
    with pytest.raises(RequestError, match=said):
        multiclass.predict(HOLDERS[holder](table))


def test_a_column_that_must_have_values_and_is_left_out(multiclass: tidemill.Model) -> None:
    for rows in (pl.DataFrame([ROW]).drop("open"), [{"size": 1.0}]):
        with pytest.raises(RequestError, match="column 'open' \\(boolean\\) is missing"):
            multiclass.predict(rows)


@pytest.mark.parametrize(
    "given",
    [ROW, 5, np.zeros((2, 2)), "text", [1]],
    ids=lambda given: type(given).__name__,
)
def test_what_holds_no_rows_is_refused(multiclass: tidemill.Model, given: object) -> None:
    with pytest.raises(RequestError, match=r"Rows are a Polars, pandas or Arrow table|A row must be an object"):
        multiclass.predict(given)


def test_a_version_that_is_not_there(multiclass: tidemill.Model, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"small/7 in .*versions: 1; aliases: champion = 1"):
        tidemill.load(tmp_path / "registry", "small", "7")
    with pytest.raises(SettingsError, match="provider"):
        tidemill.load(tmp_path / "registry", "small", provider="abacus")
    assert (multiclass.name, multiclass.version) == ("small", "1")
    assert "multiclass" in repr(multiclass)


def test_predicting_and_importing_need_nothing_that_trains(multiclass: tidemill.Model, tmp_path: Path) -> None:
    code = (
        "import sys, tidemill\n"
        "assert 'polars' not in sys.modules and 'numpy' not in sys.modules\n"
        f"model = tidemill.load({str(tmp_path / 'registry')!r}, 'small')\n"
        f"assert model.predict([{ROW!r}]).height == 1\n"
        "heavy = 'torch lightning hydra omegaconf wandb sklearn lightgbm spox plotly ray'.split()\n"
        "assert not [name for name in heavy if name in sys.modules]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_words_that_do_not_compose_are_named_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"Remedy: write training\.max_epochs"):
        tidemill.train("+experiment=table", "data.path=x.csv", "training.max_epoch=3", folder=tmp_path / "run")
    with pytest.raises(SettingsError, match=r"write experiment=flights"):
        tidemill.train("+experiment=flihgts")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "given", ["Käufe (2).csv", "a'b\"c", "${x}", "null", "1.5", "", 1, 1.5, True, None, ["a b", 2], {"unit": "$ "}]
)
def test_a_value_of_pythons_comes_back_from_hydra(given: Any) -> None:
    word = f"++data.options.value={overrides.value(given)}"
    assert _composed(["data.path=x", word])["data"]["options"]["value"] == given
