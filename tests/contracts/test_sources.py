"""What every source must keep to, found automatically: to add one, add how to open a small table of it here."""

import dataclasses
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from tidemill.composition import build, choices
from tidemill.data import infer, sources, typed
from tidemill.data.fingerprint import fingerprint
from tidemill.settings import DataSettings

TABLE = pl.DataFrame({"x": [0.5, 1.5, None, 2.5] * 5, "s": ["a", "b", "ü", None] * 5, "y": [0, 1] * 10})


def _files(folder: Path) -> dict[str, Any]:
    TABLE.write_csv(folder / "table.csv")
    return {"path": str(folder / "table.csv"), "target": "y"}


def _sql(folder: Path) -> dict[str, Any]:
    with sqlite3.connect(folder / "table.db") as database:
        database.execute("create table rows(x real, s text, y integer)")
        database.executemany("insert into rows values(?, ?, ?)", TABLE.rows())
    database.close()
    return {"connection": f"sqlite:///{folder}/table.db", "query": "select x, s, y from rows", "target": "y"}


def _flights(folder: Path) -> dict[str, Any]:
    return {"target": "disrupted", "limit": 2000}


def _production(folder: Path) -> dict[str, Any]:
    TABLE.head(4).write_parquet(folder / "records.parquet")
    return _files(folder) | {"options": {"base": "files", "records": str(folder / "records.parquet")}}


EXAMPLES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "files": _files,
    "sql": _sql,
    "flights": _flights,
    "production": _production,
}


def _params() -> list[Any]:
    slow = {"flights"}  # joins the whole year each time
    names = choices("tidemill.data.sources", "read")
    return [pytest.param(name, marks=[pytest.mark.slow] if name in slow else []) for name in names]


@pytest.fixture(params=_params())
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> DataSettings:
    assert request.param in EXAMPLES, f"add an example of the source {request.param} to EXAMPLES"
    table = yaml.safe_load((Path(__file__).parents[2] / "conf" / "data" / "table.yaml").read_text())
    return build(DataSettings, {**table, "source": request.param, **EXAMPLES[request.param](tmp_path)}, "data")


def test_a_source_gives_a_lazy_frame_with_named_columns(settings: DataSettings) -> None:
    frame = sources.open(settings)
    assert isinstance(frame, pl.LazyFrame)
    names = frame.collect_schema().names()
    assert len(set(names)) == len(names) > 1
    assert all(names)


def test_columns_can_be_chosen_and_rows_limited(settings: DataSettings) -> None:
    frame = sources.open(dataclasses.replace(settings, limit=7))
    names = frame.collect_schema().names()
    table = frame.select(names[-1], names[0]).collect()
    assert table.columns == [names[-1], names[0]]
    assert table.height == 7


def test_reading_twice_gives_the_same_typed_table(settings: DataSettings) -> None:
    found = []
    for _ in range(2):
        frame = sources.open(settings)
        result = typed.apply(frame, infer.infer(frame, settings))
        assert result.table.height > 0
        assert result.quarantined.is_empty()
        found.append(fingerprint(result.table))
    assert found[0] == found[1]
