"""Typing by the schema: what is read, what is set aside and why."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from tidemill.data import typed
from tidemill.data.schema import Column, Role, Schema
from tidemill.errors import SchemaError
from tidemill.settings import Kind

N, C, B, T = Kind.NUMERIC, Kind.CATEGORICAL, Kind.BOOLEAN, Kind.TIMESTAMP


def read(values: list[Any] | pl.Series, kind: Kind, **rules: Any) -> typed.TypedTable:
    series = pl.Series("x", values, strict=False)
    return typed.apply(series.to_frame().lazy(), Schema(columns=(Column(name="x", kind=kind, **rules),)))


@pytest.mark.parametrize(
    ("values", "kind", "rules", "expected"),
    [
        (["1", " 2.5", "?", "", None], N, {"missing_marks": ("?",)}, [1.0, 2.5, None, None, None]),
        (["1,5", "2"], N, {"decimal_comma": True}, [1.5, 2.0]),
        (["1.234,5", "1.234"], N, {"decimal_comma": True, "thousands": "."}, [1234.5, 1234.0]),
        (["1 234", "1\u202f234"], N, {"thousands": " "}, [1234.0, 1234.0]),
        (["inf", "-inf"], N, {}, [float("inf"), float("-inf")]),
        ([1.0, float("nan"), None], N, {}, [1.0, None, None]),
        ([True, None], N, {}, [1.0, None]),
        ([timedelta(seconds=1.5)], N, {}, [1.5]),
        (
            pl.Series([2**63 - 1, 1 - 2**63, None, 1_500]).cast(pl.Duration("ms")),
            N,
            {},
            [2**63 / 1e3, -(2**63) / 1e3, None, 1.5],
        ),
        (pl.Series([2**63 - 1, 1_500]).cast(pl.Duration("us")), N, {}, [2**63 / 1e6, 0.0015]),
        (pl.Series([2**53], dtype=pl.UInt64), N, {}, [2.0**53]),
        (["YES", "f", None, ""], B, {}, [True, False, None, None]),
        ([1, 0, None], B, {}, [True, False, None]),
        ([1.0, 2.5, float("nan"), -0.0], C, {}, ["1", "2.5", None, "0"]),
        ([10, None], C, {}, ["10", None]),
        ([True, False], C, {}, ["true", "false"]),
        (["ü", "", "?", "x"], C, {"missing_marks": ("?",)}, ["ü", None, None, "x"]),
        (pl.Series(["a", None], dtype=pl.Categorical), C, {}, ["a", None]),
        ([date(2013, 1, 2)], C, {}, ["2013-01-02"]),
        (
            [date(1, 1, 1), date(9999, 12, 31)],
            T,
            {},
            [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)],
        ),
        (["31.1.2013", None], T, {"format": "%d.%m.%Y"}, [datetime(2013, 1, 31, tzinfo=UTC), None]),
        ([1.5, None], T, {"format": "epoch_s"}, [datetime(1970, 1, 1, 0, 0, 1, 500_000, UTC), None]),
        (
            ["1", " 1.5", ""],
            T,
            {"format": "epoch_s"},
            [datetime(1970, 1, 1, 0, 0, 1, 0, UTC), datetime(1970, 1, 1, 0, 0, 1, 500_000, UTC), None],
        ),
        ([1_500], T, {"format": "epoch_ms"}, [datetime(1970, 1, 1, 0, 0, 1, 500_000, UTC)]),
        ([datetime(2013, 1, 1, 5)], T, {}, [datetime(2013, 1, 1, 5, tzinfo=UTC)]),
    ],
)
def test_values_are_read_as_their_kind(values: Any, kind: Kind, rules: dict[str, Any], expected: list[Any]) -> None:
    result = read(values, kind, **rules)
    assert result.quarantined.is_empty()
    assert result.table["x"].to_list() == expected
    assert result.table["x"].dtype == {N: pl.Float64, B: pl.Boolean, C: pl.String, T: pl.Datetime("us", "UTC")}[kind]


def test_times_with_zones_become_utc() -> None:
    zoned = pl.Series("x", [datetime(2013, 7, 1, 8)]).dt.replace_time_zone("America/New_York").dt.cast_time_unit("ns")
    assert read(zoned, T).table["x"].to_list() == [datetime(2013, 7, 1, 12, tzinfo=UTC)]
    result = read(["2013-07-01T08:00:00-0400"], T, format="%Y-%m-%dT%H:%M:%S%.f%#z")
    assert result.table["x"].to_list() == [datetime(2013, 7, 1, 12, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("values", "kind", "rules", "reason"),
    [
        (["1", "abc"], N, {}, "x: 'abc' cannot be read as numeric"),
        (["1", "1,5"], N, {}, "x: '1,5' cannot be read as numeric"),
        (["1,5", "1.5"], N, {"decimal_comma": True}, "x: '1.5' cannot be read as numeric"),
        (["1,000", "10,00"], N, {"thousands": ","}, "x: '10,00' cannot be read as numeric"),
        ([1, 2**53 + 1], N, {}, "x: '9007199254740993' cannot be read as numeric"),
        (["1", str(2**53 + 1)], N, {}, "x: '9007199254740993' cannot be read as numeric"),
        (["1", "nan"], N, {"missing_allowed": False}, "x: missing"),
        (["yes", "maybe"], B, {}, "x: 'maybe' cannot be read as boolean"),
        ([0, 2], B, {}, "x: '2' cannot be read as boolean"),
        (["1.1.2013", "32.1.2013"], T, {"format": "%d.%m.%Y"}, "x: '32.1.2013' cannot be read as timestamp"),
        ([1.0, None], N, {"missing_allowed": False}, "x: missing"),
        ([1.0, float("nan")], N, {"missing_allowed": False}, "x: missing"),
        (["a", ""], C, {"missing_allowed": False}, "x: missing"),
        (["a", "?"], C, {"role": Role.TARGET, "missing_marks": ("?",)}, "x: missing"),
        ([1.0, None], N, {"role": Role.WEIGHT}, "x: missing"),
        ([1.0, -1.0], N, {"role": Role.WEIGHT}, "x: '-1.0' is not a weight (0 or greater)"),
        ([1.0, float("inf")], N, {"role": Role.WEIGHT}, "x: 'inf' is not a weight (0 or greater)"),
        ([datetime(2013, 1, 1), None], T, {"role": Role.TIME}, "x: missing"),
        ([0.0, -0.5], N, {"minimum": 0.0}, "x: '-0.5' is below the minimum 0"),
        ([0.0, 1.5], N, {"maximum": 1.0}, "x: '1.5' is above the maximum 1"),
        (["a", "b"], C, {"domain": ("a",)}, "x: 'b' is not in the domain"),
        ([1.0, 2.0], N, {"domain": ("1",)}, "x: '2.0' is not in the domain"),
        ([True, False], B, {"domain": ("true",)}, "x: 'false' is not in the domain"),
    ],
)
def test_the_second_row_is_set_aside_with_the_reason(
    values: Any, kind: Kind, rules: dict[str, Any], reason: str
) -> None:
    result = read(values, kind, **rules)
    assert result.table.height == 1
    assert result.quarantined[typed.REASON].to_list() == [reason]
    assert str(result.quarantined["x"][0]) == str(pl.Series(values, strict=False)[1])


def test_all_reasons_of_a_row_are_told_and_order_is_kept() -> None:
    frame = pl.LazyFrame({"a": ["1", "x", "3", "y"], "b": ["p", "q", "", "p"], "junk": [1, 2, 3, 4]})
    columns = (
        Column(name="b", kind=C, domain=("p",), missing_allowed=False),
        Column(name="a", kind=N),
        Column(name="junk", kind=N, role=Role.IGNORED),
        Column(name="gone", kind=N, role=Role.IGNORED),
    )
    result = typed.apply(frame, Schema(columns=columns))
    assert result.table.to_dict(as_series=False) == {"b": ["p"], "a": [1.0]}
    assert result.quarantined.columns == ["b", "a", typed.REASON]
    assert result.quarantined[typed.REASON].to_list() == [
        "b: 'q' is not in the domain; a: 'x' cannot be read as numeric",
        "b: missing",
        "a: 'y' cannot be read as numeric",
    ]


def test_no_row_is_lost_in_a_hundred_thousand() -> None:
    frame = pl.LazyFrame({"i": range(100_000)}).with_columns(
        x=pl.when(pl.col("i") % 7 == 0).then(pl.lit("bad")).otherwise(pl.col("i").cast(pl.String))
    )
    result = typed.apply(frame, Schema(columns=(Column(name="i", kind=N), Column(name="x", kind=N))))
    assert result.quarantined["i"].to_list() == list(range(0, 100_000, 7))
    assert result.table["i"].to_list() == [i for i in range(100_000) if i % 7]


def test_ignored_columns_are_not_read() -> None:
    def fail(series: pl.Series) -> pl.Series:
        raise AssertionError("read")

    frame = pl.LazyFrame({"a": [1], "b": [2]}).with_columns(b=pl.col("b").map_batches(fail, return_dtype=pl.Int64))
    schema = Schema(columns=(Column(name="a", kind=N), Column(name="b", kind=N, role=Role.IGNORED)))
    assert typed.apply(frame, schema).table.to_dict(as_series=False) == {"a": [1.0]}


def test_an_empty_table_and_one_row() -> None:
    assert read(pl.Series("x", [], dtype=pl.String), N).table.schema == {"x": pl.Float64}
    assert read(["x"], N).table.height == 0
    assert read(["x"], N).quarantined.height == 1


def test_what_a_schema_cannot_be_applied_to_is_refused() -> None:
    frame = pl.LazyFrame({"a": [1]})
    with pytest.raises(SchemaError, match="no column 'x', 'y' among a"):
        typed.apply(frame, Schema(columns=(Column(name="x", kind=N), Column(name="y", kind=N))))
    with pytest.raises(SchemaError, match=r"column 'x' of type List\(Int64\)"):
        read([[1]], N)
    with pytest.raises(SchemaError, match="column 'x' of type Date"):
        read([date(2013, 1, 1)], B)
    with pytest.raises(SchemaError, match=r"A domain must list values of the column's kind \(numeric\)"):
        read([1.0], N, domain=("low",))
    with pytest.raises(SchemaError, match="A domain must list values"):
        read([True], B, domain=("ja",))
