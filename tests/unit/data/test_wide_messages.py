"""What goes wrong with a table of thousands of columns is said in a few lines."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from table_settings import TABLE, settings_for

from tidemill.composition import build
from tidemill.data import dataset, infer, typed
from tidemill.data.raw import from_rows
from tidemill.data.schema import Column, Schema
from tidemill.errors import QualityError, SettingsError, TidemillError
from tidemill.settings import DataSettings, Kind

SPLIT = yaml.safe_load(TABLE.read_text())["split"]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 2,000 columns."""
    file = tmp_path_factory.mktemp("wide") / "wide.csv"
    pl.DataFrame({f"measurement_{i:04}": np.arange(20) % (i % 7 + 2) for i in range(2_000)}).write_csv(file)
    return file


@pytest.mark.parametrize(
    "changes",
    [
        {"target": None},
        {"target": "measurment_0007"},
        {"target": "measurement_0007", "ignored": ["ghost"]},
        {"target": "measurement_0007", "split": {**SPLIT, "method": "time"}},
    ],
)
def test_mistakes_about_a_wide_table_name_a_few_of_its_columns(
    wide: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    with pytest.raises(TidemillError) as raised:
        dataset.load(settings_for(wide, **changes), tmp_path)
    assert len(str(raised.value)) < 900


def test_what_a_wide_model_refuses_names_a_few_of_its_columns() -> None:
    schema = Schema(columns=tuple(Column(name=f"measurement_{i}", kind=Kind.NUMERIC) for i in range(5_000)))
    refused = []
    for attempt in (
        lambda: from_rows([{"ghost": 1}], schema.columns),
        lambda: typed.apply(pl.LazyFrame({"a": [1]}), schema),
        lambda: schema["ghost"],
        lambda: infer._present("ghost", [column.name for column in schema.columns], "data.key"),
    ):
        with pytest.raises(TidemillError) as raised:
            attempt()
        refused.append(str(raised.value))
    assert all(len(text) < 1_200 and " more" in text for text in refused)


@pytest.mark.slow
def test_errors_of_many_columns_are_ten_and_a_count(tmp_path: Path) -> None:
    file = tmp_path / "leaks.csv"
    copies = {f"copy_{i}": [f"v{j % 2}{i}" for j in range(300)] for i in range(40)}
    noise = np.random.default_rng(0).normal(size=300)
    pl.DataFrame({**copies, "noise": noise, "y": [j % 2 for j in range(300)]}).write_csv(file)
    with pytest.raises(QualityError) as raised:
        dataset.load(settings_for(file, target="y"), tmp_path)
    text = str(raised.value)
    assert text.count("alone predicts") == 10 and "and 30 more like these" in text and "left out" not in text


def test_many_wrong_settings_are_twenty_and_a_count() -> None:
    values = yaml.safe_load(TABLE.read_text())
    with pytest.raises(SettingsError) as raised:
        build(DataSettings, {**values, **{f"ghost_{i}": 1 for i in range(50)}}, "data")
    assert "and 30 more" in str(raised.value)
