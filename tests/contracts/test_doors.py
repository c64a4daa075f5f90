"""One reading of values: as they stand in a file, they are the same to training, every door and plain onnxruntime.

Each door's own decoder runs on the file's values; what it gives to the graph must be what training gave to it, value
for value, and the graph by itself must make of the texts what it made of training's.
"""

import csv
import gzip
import unicodedata
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from doors import DOORS, ROOT, Trained

from tidemill.data.raw import Raw
from tidemill.data.scalars import WHITE_SPACE
from tidemill.preparation.cut import session_of
from tidemill.settings import Kind

SHARED = next((place / "shared/data" for place in ROOT.parents if (place / "shared/data").is_dir()), Path("nowhere"))
ROWS = 120

ODD = {
    "id": [f"{1_152_921_504_606_846_976 + i % 3 * 1001}" for i in range(ROWS)],
    "city": [[" Zürich", "Zu\u0308rich\u00a0", "?", "Rome\t", "", "New York", " ? ", "NA"][i % 8] for i in range(ROWS)],
    "price": [["1.250,5", " 3,14", "950", "-", "2.000.000"][i % 5] for i in range(ROWS)],
    "count": [["7", " 12", "-3", "1e2", "NaN", "0.5"][i % 6] for i in range(ROWS)],
    "paid": [["Yes", " no", "YES", "n/a"][i % 4] for i in range(ROWS)],
    "day": [f"{i % 28 + 1:02}.{i % 12 + 1:02}.2013 0{i % 9}:30" for i in range(ROWS)],
    "zoned": [f"2013-06-{i % 28 + 1:02}T12:00:00{['Z', '+05:30', '-0800'][i % 3]}" for i in range(ROWS)],
    "store": [["14.0", "3.0", " 7", "3", "", "14"][i % 6] for i in range(ROWS)],
    "code": [["007", "7", "0", "0070"][i % 4] for i in range(ROWS)],
    "seconds": [f"{1_371_898_800 + 3600 * i}" for i in range(ROWS)],
    "flag": [["True", "False", "maybe"][i % 3] for i in range(ROWS)],
    "y": [str(i % 2) for i in range(ROWS)],
}
KINDS = {"id": "categorical", "store": "categorical", "code": "categorical", "seconds": "timestamp"}
START = datetime(2013, 1, 1, tzinfo=UTC)
TYPED = pl.DataFrame(
    {
        "id": [2**60 + i % 3 * 1001 for i in range(ROWS)],
        "store": [[14.0, 3.0, None, 2.5][i % 4] for i in range(ROWS)],
        "city": [[" Zürich", "Zu\u0308rich", "?", "Rome\u2003", None][i % 5] for i in range(ROWS)],
        "brand": pl.Series([[" a", "b", None][i % 3] for i in range(ROWS)], dtype=pl.Categorical),
        "paid": [[True, False, None][i % 3] for i in range(ROWS)],
        "kind": [bool(i % 2) for i in range(ROWS)],
        "at": [START + timedelta(hours=7 * i) for i in range(ROWS)],
        "day": [date(2013, 1, 1) + timedelta(days=i % 90) for i in range(ROWS)],
        "milliseconds": [1_371_898_800_000 + 1000 * i for i in range(ROWS)],
        "size": pl.Series([i % 17 for i in range(ROWS)], dtype=pl.UInt8),
        "price": pl.Series([Decimal(i % 13) / 4 for i in range(ROWS)], dtype=pl.Decimal(10, 2)),
        "y": [float(i % 2) for i in range(ROWS)],
    }
)
TYPED_KINDS = {"store": "categorical", "kind": "categorical", "milliseconds": "timestamp"}


@pytest.fixture(scope="module")
def odd_csv(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    path = tmp_path_factory.mktemp("odd") / "odd.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, delimiter=";").writerows([ODD.keys(), *zip(*ODD.values(), strict=True)])
    return Trained(path, target="y", kinds=KINDS)


@pytest.fixture(scope="module")
def odd_parquet(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    path = tmp_path_factory.mktemp("typed") / "typed.parquet"
    TYPED.write_parquet(path)
    return Trained(path, target="y", kinds=TYPED_KINDS)


def same(got: Raw, expected: Raw) -> None:
    assert list(got) == list(expected)
    for name, values in expected.items():
        assert got[name].dtype == values.dtype, name
        if values.dtype == object:
            assert got[name].tolist() == values.tolist(), name
        else:
            np.testing.assert_array_equal(got[name], values, name)


def alone(trained: Trained) -> None:
    """The graph by itself: texts as the file has them, but trimmed and composed, as the manifest says."""
    feed = dict(trained.raw)
    for column in trained.schema.inputs:
        if column.kind is Kind.CATEGORICAL:
            texts = ["" if value is None else str(value).strip(WHITE_SPACE) for value in trained.stored[column.name]]
            feed[column.name] = np.array([unicodedata.normalize("NFC", text) for text in texts], object)
    session = session_of(trained.preparation.model)
    got = session.run(None, {one.name: feed[one.name] for one in session.get_inputs()})
    expected = trained.preparation.run(trained.raw)
    np.testing.assert_array_equal(got[0], expected.numeric)
    np.testing.assert_array_equal(got[1], expected.categorical)


def test_the_odd_tables_are_as_odd_as_they_are_meant(odd_csv: Trained, odd_parquet: Trained) -> None:
    kinds = {column.name: str(column.kind) for column in odd_csv.schema.inputs}
    assert kinds == {
        "id": "categorical", "city": "categorical", "price": "numeric", "count": "numeric", "paid": "boolean",
        "day": "timestamp", "zoned": "timestamp", "store": "categorical", "code": "categorical",
        "seconds": "timestamp", "flag": "categorical",
    }  # fmt: skip
    assert set(odd_csv.raw["city"]) == {"Zürich", "Rome", "New York", ""}
    assert set(odd_csv.raw["store"]) == {"14", "3", "7", ""} and set(odd_csv.raw["code"]) == {"007", "7", "0", "0070"}
    assert odd_csv.raw["price"][:3].tolist() == [1250.5, 3.14, 950.0]
    assert set(odd_parquet.raw["id"]) == {str(2**60 + i * 1001) for i in range(3)}
    assert set(odd_parquet.raw["store"]) == {"14", "3", "2.5", ""}


@pytest.mark.parametrize("door", DOORS)
def test_odd_texts_are_the_same_at_every_door(odd_csv: Trained, door: Any) -> None:
    same(door(odd_csv), odd_csv.raw)


@pytest.mark.parametrize("door", DOORS)
def test_odd_types_are_the_same_at_every_door(odd_parquet: Trained, door: Any) -> None:
    same(door(odd_parquet), odd_parquet.raw)


def test_the_graph_by_itself_knows_marks_and_both_spellings(odd_csv: Trained, odd_parquet: Trained) -> None:
    alone(odd_csv)
    alone(odd_parquet)


TABLES = {
    "tabular/adult_train.csv.gz": {"target": "income"},
    "tabular/california_housing.csv.gz": {},
    "tabular/covtype.parquet": {},
    "tabular/hotel_bookings.csv.gz": {"target": "is_canceled", "kinds": {"agent": "categorical"}},
    "drift/elec2_norm.csv.gz": {},
    "drift/noaa_weather.csv.gz": {},
    "text/womens_clothing_reviews.csv.gz": {},
    "text/banking77_train.csv.gz": {},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_a_slice_of_a_real_table_is_the_same_at_every_door(name: str, tmp_path: Path) -> None:
    source = SHARED / name
    if not source.is_file():
        pytest.skip(f"{name} is not there")
    path = tmp_path / f"table{''.join(source.suffixes[:1])}"
    if path.suffix == ".csv":
        with gzip.open(source, "rt", encoding="utf-8", newline="") as stream:
            rows = [row for row, _ in zip(csv.reader(stream), range(301), strict=False)]
        with path.open("w", encoding="utf-8", newline="") as out:
            csv.writer(out).writerows(rows)
        names = [one.strip() for one in rows[0]]
    else:
        table = pl.read_parquet(source, n_rows=300)
        table.write_parquet(path)
        names = table.columns
    settings = {"target": names[-1], **TABLES[name]}
    settings["target"] = settings["target"] if settings["target"] in names else names[-1]
    settings["kinds"] = {one: kind for one, kind in settings.get("kinds", {}).items() if one in names}
    texts = [one for one in names if one != settings["target"] and one not in settings["kinds"]]
    if name.startswith("text/"):
        settings["kinds"] |= dict.fromkeys(texts[:3], "categorical")
    trained = Trained(path, **settings)
    for door in DOORS:
        same(door(trained), trained.raw)
    alone(trained)
