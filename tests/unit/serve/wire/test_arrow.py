import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from arrow_parts import READER, decode, one, others, stream

from tidemill.data import typed
from tidemill.data.raw import MISSING_TIMESTAMP
from tidemill.data.schema import Schema

YEAR_2020 = 1_577_836_800_000_000


def test_columns_become_raw_arrays() -> None:
    table = decode(
        {
            "t": pa.array([dt.datetime(2020, 1, 1), None], pa.timestamp("us")),
            "c": pa.array(["é", None]),
            "n": pa.array([1, 2]),
            "b": pa.array([True, None]),
        }
    )
    assert table.count == 2 and others(table) == {}
    assert list(table.raw) == ["n", "c", "b", "t", "m"]
    assert table.raw["n"].tolist() == [1.0, 2.0] and table.raw["c"].tolist() == ["é", ""]
    np.testing.assert_array_equal(table.raw["b"], [1.0, np.nan])
    assert table.raw["t"].tolist() == [YEAR_2020, MISSING_TIMESTAMP]
    assert np.isnan(table.raw["m"]).all(), "left out"
    assert {name: values.dtype for name, values in table.raw.items()} == {
        "n": np.float64,
        "c": np.object_,
        "b": np.float64,
        "t": np.int64,
        "m": np.float64,
    }


@pytest.mark.parametrize("width", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_integers_of_all_widths(width: str) -> None:
    np.testing.assert_array_equal(one("m", pa.array([7, None, 100], getattr(pa, width)())), [7.0, np.nan, 100.0])


@pytest.mark.parametrize("type_", [pa.float16(), pa.float32(), pa.float64()])
def test_floats_of_all_widths(type_: Any) -> None:
    values = pa.array(np.array([0.5, np.nan, -np.inf], type_.to_pandas_dtype()), type_)
    np.testing.assert_array_equal(one("m", values), [0.5, np.nan, -np.inf])


def test_numbers_at_the_ends_of_their_range() -> None:
    values = [1e200, -1.7e308, float("inf"), float("-inf"), 5e-324]
    assert one("n", pa.array(values)).tolist() == values


@pytest.mark.parametrize(
    "type_",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.uint32(), pa.large_string()),
    ],
)
def test_text_in_every_form(type_: Any) -> None:
    values = ["a", None, "?", "東 and more than twelve bytes", "", "a"]
    array = pa.array(values).dictionary_encode().cast(type_) if "dict" in str(type_) else pa.array(values, type_)
    assert one("c", array).tolist() == ["a", "", "", "東 and more than twelve bytes", "", "a"]


def test_decimals_times_of_day_and_durations_are_read_as_in_training() -> None:
    """A Parquet file has them too: numbers are what they are, and spans of time their seconds."""
    columns = {
        "n": pa.array([Decimal("1.50"), Decimal("-2")], pa.decimal128(10, 2)),
        "m": pa.array([90_000, None], pa.duration("ms")),
        "c": pa.array([Decimal("3.00"), None], pa.decimal128(10, 2)),
        "k": pa.array([Decimal("7.0"), Decimal("8.5")], pa.decimal128(10, 1)),
    }
    found = decode(columns)
    training = typed.apply(pl.read_ipc_stream(stream(columns)).lazy(), Schema(columns=READER.columns[:2]))
    assert found.raw["n"].tolist() == training.table["n"].to_list() == [1.5, -2.0]
    assert found.raw["c"].tolist() == ["3", ""] and training.table["c"].to_list() == ["3", None]
    assert found.raw["m"][0] == 90 and np.isnan(found.raw["m"][1])
    assert others(found) == {"k": ["7", "8.5"]}
    assert one("m", pa.array([dt.time(1, 2, 3)], pa.time64("us"))).tolist() == [3723.0]
    assert one("c", pa.array([dt.timedelta(seconds=90)], pa.duration("us"))).tolist() == ["PT1M30S"]
    assert one("n", pa.array([2**63 - 1], pa.duration("ms"))).tolist() == [2**63 / 1e3]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Rome", "+05:30", "No/Such_Place"])
def test_timestamps_of_any_unit_and_zone(unit: str, zone: str | None) -> None:
    values = (
        pa.array([1_577_836_800, None, -1], pa.int64()).cast(pa.timestamp("s", zone)).cast(pa.timestamp(unit, zone))
    )
    assert one("t", values).tolist() == [YEAR_2020, MISSING_TIMESTAMP, -1_000_000]


def test_dates_and_what_json_has_too() -> None:
    assert one("t", pa.array([dt.date(2020, 1, 1), None])).tolist() == [YEAR_2020, MISSING_TIMESTAMP]
    assert one("t", pa.array([dt.date(2020, 1, 1)], pa.date64())).tolist() == [YEAR_2020]
    assert one("t", pa.array([YEAR_2020])).tolist() == [YEAR_2020]
    assert one("t", pa.array(["2020-01-01T01:00:00+01:00"])).tolist() == [YEAR_2020]
    assert one("t", pa.array([-1], pa.timestamp("ns"))).tolist() == [-1], "down, not towards zero"
    assert one("c", pa.nulls(2)).tolist() == ["", ""] and np.isnan(one("b", pa.nulls(1))).all()


def test_other_columns_are_kept_apart() -> None:
    table = decode({"n": pa.array([1.0]), "k": pa.array(["x"]), "when": pa.array([dt.date(2020, 1, 1)])})
    assert others(table) == {"k": ["x"], "when": ["2020-01-01"]} and "k" not in table.raw


def test_several_batches_none_and_polars_as_a_client() -> None:
    assert decode({"n": pa.array(range(40))}).raw["n"].tolist() == list(range(40))
    empty = decode({"n": pa.array([], pa.int64())})
    assert empty.count == 0 and empty.raw["c"].dtype == object and empty.raw["t"].dtype == np.int64
    frame = pl.DataFrame({"n": [1, 2], "c": ["a", None], "m": pl.Series([1.5, None], dtype=pl.Float32)})
    frame = frame.with_columns(pl.col("c").cast(pl.Categorical))
    table = decode(frame.write_ipc_stream(None).getvalue())
    assert table.raw["c"].tolist() == ["a", ""] and table.raw["m"].tolist()[0] == 1.5


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_buffers(compression: str) -> None:
    columns = {"n": pa.array([2.0] * 100), "c": pa.array(["same"] * 100)}
    assert decode(stream(columns, compression=compression)).raw["c"].tolist() == ["same"] * 100
