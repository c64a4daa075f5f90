"""The raw input contract, from tables and from JSON."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from tidemill.data import scalars
from tidemill.data.cells import values
from tidemill.data.raw import MISSING_TIMESTAMP, from_rows, from_table
from tidemill.data.schema import Column
from tidemill.errors import RequestError, SchemaError
from tidemill.settings import Kind

NUMBER = Column(name="n", kind=Kind.NUMERIC)
TRUTH = Column(name="b", kind=Kind.BOOLEAN)
TEXT = Column(name="s", kind=Kind.CATEGORICAL, missing_marks=("?",))
TIME = Column(name="t", kind=Kind.TIMESTAMP)
COLUMNS = (NUMBER, TRUTH, TEXT, TIME)


def test_tables_and_rows_give_the_same_arrays() -> None:
    moment = datetime(2013, 6, 30, 14, 5, 0, 250_001, UTC)
    table = pl.DataFrame(
        {
            "n": [1.5, None, 3.0],
            "b": [True, None, False],
            "s": ["ü", None, "a"],
            "t": [moment, None, datetime(1, 1, 1, tzinfo=UTC)],
        }
    )
    rows = [
        {"n": 1.5, "b": True, "s": "ü", "t": "2013-06-30T16:05:00.250001+02:00"},
        {"n": None, "s": "?"},
        {"n": 3, "b": False, "s": "a", "t": "0001-01-01"},
    ]
    one, two = from_table(table, COLUMNS), from_rows(rows, COLUMNS)
    assert list(one) == list(two) == ["n", "b", "s", "t"]
    for name, array in one.items():
        np.testing.assert_array_equal(array, two[name])
        assert array.dtype == two[name].dtype
        assert array.shape == (3,)
    assert one["s"].tolist() == ["ü", "", "a"]
    assert one["t"][1] == MISSING_TIMESTAMP
    assert one["t"][0] == 1_372_601_100_250_001
    assert np.isnan(one["n"][1])
    assert [array.dtype for array in one.values()] == [np.float64, np.float64, object, np.int64]


def test_no_rows_and_no_columns() -> None:
    empty = pl.DataFrame(schema={"n": pl.Float64, "b": pl.Boolean, "s": pl.String, "t": pl.Datetime("us")})
    for raw in (from_table(empty, COLUMNS), from_rows([], COLUMNS)):
        assert [(array.shape, array.dtype) for array in raw.values()] == [
            ((0,), np.float64),
            ((0,), np.float64),
            ((0,), object),
            ((0,), np.int64),
        ]
    assert from_rows([{}], ()) == {}


def test_numbers_are_not_copied() -> None:
    table = pl.DataFrame({"n": np.arange(1000.0), "t": pl.Series(range(1000)).cast(pl.Datetime("us", "UTC"))})
    raw = from_table(table, (NUMBER, TIME))
    assert np.shares_memory(raw["n"], table["n"].to_numpy())
    assert np.shares_memory(raw["t"], table["t"].to_physical().to_numpy())


@pytest.mark.parametrize("values", [pl.Series("n", [1, 2]), pl.Series("m", [1.0])])
def test_a_table_that_was_not_typed_is_refused(values: pl.Series) -> None:
    with pytest.raises(SchemaError, match="The table must hold 'n', read as numeric"):
        from_table(values.to_frame(), (NUMBER,))


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        (NUMBER, 2**53, 2.0**53),
        (NUMBER, -(2**53), -(2.0**53)),
        (NUMBER, 1e300, 1e300),
        (NUMBER, float("inf"), float("inf")),
        (TIME, 0, 0),
        (TIME, -1, -1),
        (TIME, 2**63 - 1, 2**63 - 1),
        (TIME, "1969-12-31T23:59:59.999999Z", -1),
        (TIME, "9999-12-31T23:59:59.999999", 253_402_300_799_999_999),
        (TIME, "2013-01-01 00:00:00-00:30", 1_357_000_200_000_000),
        (TIME, "", MISSING_TIMESTAMP),
        (TIME, None, MISSING_TIMESTAMP),
        (TEXT, "", ""),
        (TEXT, "?", ""),
        (TEXT, " x\u00a0", "x"),
        (TEXT, "e\u0301", "é"),
        (TEXT, "\u2003?\n", ""),
        (TEXT, 5, "5"),
        (TEXT, 5.0, "5"),
        (TEXT, 2**64 + 1, "18446744073709551617"),
        (TEXT, False, "false"),
        (NUMBER, " 1.5", 1.5),
        (NUMBER, True, 1.0),
        (TRUTH, 1, 1.0),
        (TRUTH, "No", 0.0),
        (TEXT, "日本\n🙂", "日本\n🙂"),
    ],
)
def test_values_that_are_taken(column: Column, value: Any, expected: Any) -> None:
    assert from_rows([{column.name: value}], (column,))[column.name].tolist() == [expected]


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        (NUMBER, "1,5", "column 'n': \"1,5\""),
        (NUMBER, [1], "column 'n': [1]"),
        (NUMBER, {"a": 1}, "A numeric column takes a number"),
        (NUMBER, 2**53 + 1, "Whole numbers must lie within"),
        (NUMBER, -(10**400), "Whole numbers must lie within"),
        (TRUTH, 2, "A boolean column takes true or false"),
        (TRUTH, "maybe", "A boolean column takes true or false"),
        (TEXT, ["5"], "A categorical column takes text"),
        (TEXT, "\ud800", "Text must be valid Unicode"),
        (TIME, "31.1.2013", "an ISO 8601 time"),
        (TIME, "2013-02-30", "an ISO 8601 time"),
        (TIME, True, "an ISO 8601 time like 2013-06-30T14:05:00+02:00 or whole microseconds"),
        (TIME, 1.5, "an ISO 8601 time like 2013-06-30T14:05:00+02:00 or whole microseconds"),
        (TIME, 2**63, "within 64 bits"),
        (TIME, MISSING_TIMESTAMP, "within 64 bits"),
        (NUMBER, object(), "object"),
        (NUMBER, "x" * 1000, "xxx..."),
    ],
)
def test_values_that_are_refused_name_row_and_column(column: Column, value: Any, said: str) -> None:
    good: dict[Kind, Any] = {Kind.NUMERIC: 1.0, Kind.BOOLEAN: True, Kind.CATEGORICAL: "a", Kind.TIMESTAMP: 0}
    with pytest.raises(RequestError) as caught:
        from_rows([{column.name: good[column.kind]}, {column.name: value}], (column,))
    assert said in str(caught.value)
    assert "row 1, " in str(caught.value)
    assert repr(column.name) in str(caught.value)


SEEN = {"earliest": "2013-01-01T00:00:00+00:00", "latest": "2013-12-31T00:00:00+00:00"}
NOON = 1_371_902_400  # of 2013-06-22, in seconds


@pytest.mark.parametrize(
    ("unit", "value", "said"),
    [
        (None, NOON, "send microseconds (multiply by 1,000,000), or ISO 8601 text"),
        (None, NOON * 1000, "send microseconds (multiply by 1,000)"),
        (None, float(NOON), "send microseconds (multiply by 1,000,000)"),
        ("epoch_s", NOON * 1000, "send seconds (divide by 1,000)"),
        ("epoch_s", NOON * 1_000_000, "send seconds (divide by 1,000,000)"),
        ("epoch_ms", NOON, "send milliseconds (multiply by 1,000)"),
        ("%d.%m.%Y", NOON, "send microseconds (multiply by 1,000,000)"),
    ],
)
def test_a_moment_in_another_unit_is_refused_with_the_unit_that_fits(unit: str | None, value: Any, said: str) -> None:
    column = Column(name="t", kind=Kind.TIMESTAMP, format=unit, **SEEN)
    with pytest.raises(RequestError, match="lies years outside of training's timestamps") as caught:
        from_rows([{"t": "2013-06-22"}, {"t": value}], [column])
    assert said in str(caught.value) and "row 1, " in str(caught.value)
    told = pl.DataFrame({"t": [value]})
    assert told.select(values.read(column, told.schema["t"])).item() is None, "nor do tables take it"


@pytest.mark.parametrize(
    ("unit", "value"),
    [
        (None, NOON * 1_000_000),
        ("epoch_s", NOON),
        ("epoch_s", str(NOON)),
        ("epoch_s", f" {NOON}.0"),
        ("epoch_ms", float(NOON * 1000)),
        ("epoch_us", NOON * 1_000_000),
        ("epoch_s", "2013-06-22T12:00:00"),
        ("%d.%m.%Y %H:%M", "22.06.2013 12:00"),
        ("%d.%m.%Y %H:%M", "2013-06-22T12:00Z "),
        ("%Y-%d-%m %H:%M", "2013-22-06 12:00"),
    ],
)
def test_a_moment_is_taken_in_trainings_notation_and_unit(unit: str | None, value: Any) -> None:
    column = Column(name="t", kind=Kind.TIMESTAMP, format=unit, **SEEN)
    assert from_rows([{"t": value}], [column])["t"].tolist() == [NOON * 1_000_000]


def test_a_moment_that_is_far_off_in_every_unit_is_taken_as_it_is() -> None:
    for value in (5, -(2**62), 4_102_444_800_000_000):
        assert from_rows([{"t": value}], [Column(name="t", kind=Kind.TIMESTAMP, **SEEN)])["t"].tolist() == [value]
    swapped = Column(name="t", kind=Kind.TIMESTAMP, format="%Y-%d-%m")
    assert from_rows([{"t": "2013-01-02"}], [swapped])["t"].tolist() == [1_359_676_800_000_000], "February"


def test_numbers_in_text_are_read_in_the_columns_notation() -> None:
    column = Column(name="n", kind=Kind.NUMERIC, decimal_comma=True, thousands=".", missing_marks=("-",))
    assert from_rows([{"n": " 1.250,5"}], [column])["n"].tolist() == [1250.5]
    assert np.isnan(from_rows([{"n": "-"}, {"n": " NaN "}], [column])["n"]).all()
    with pytest.raises(RequestError, match=r"with '[.]' between thousands and a decimal comma"):
        from_rows([{"n": "1.2"}], [column])


def test_a_whole_number_has_one_spelling_where_categories_are_numbers() -> None:
    column = Column(name="c", kind=Kind.CATEGORICAL, numeric_categories=True)
    given = ["3", "3.0", "3.", "+3", 3, 3.0, " 3.00 ", "-0.0", "2.50", "007", "x1.0", 2**60 + 1, str(2**60 + 1)]
    read = ["3"] * 7 + ["0", "2.5", "007", "x1.0", str(2**60 + 1), str(2**60 + 1)]
    for _ in range(2):  # the second time they are remembered
        assert from_rows([{"c": value} for value in given], [column])["c"].tolist() == read
    other = Column(name="c", kind=Kind.CATEGORICAL)
    assert from_rows([{"c": "3.0"}, {"c": 3.0}], [other])["c"].tolist() == ["3.0", "3"]


def test_plain_python_and_polars_clean_every_character_alike() -> None:
    characters = [chr(code) for code in range(0x30000) if not 0xD800 <= code < 0xE000]
    texts = [f"{one}a{one}" for one in characters]
    read = pl.DataFrame({"x": texts}).select(values.clean(pl.col("x"))).to_series()
    odd = [text for text, one in zip(texts, read.to_list(), strict=True) if scalars.clean(text) != one]
    assert len(odd) < 200, "two versions of Unicode may differ in a few new letters"
    assert not [text for text in odd if ord(text[0]) < 0x2000]


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("row", [{}, {"x": None}, {"x": ""}, {"x": "?"}, {"x": float("nan")}])
def test_a_column_that_allows_no_missing_value_must_have_one(kind: Kind, row: dict[str, Any]) -> None:
    needed = Column(name="x", kind=kind, missing_allowed=False, missing_marks=("?",))
    with pytest.raises(RequestError) as caught:
        from_rows([row], (needed,))
    if not row or row["x"] is None:
        assert f"row 0, column 'x' ({kind}) is missing" in str(caught.value)


def test_unknown_columns_are_named_with_the_nearest() -> None:
    with pytest.raises(RequestError, match=r"row 1, unknown column .nn.. Remedy: did you mean 'n'"):
        from_rows([{"n": 1}, {"nn": 1}], COLUMNS)
    with pytest.raises(RequestError, match="The columns are b, n, s, t"):
        from_rows([{"zzzzzz": 1}], COLUMNS)


@pytest.mark.parametrize("row", [[1, 2], "text", None, 5])
def test_a_row_must_be_an_object(row: Any) -> None:
    with pytest.raises(RequestError, match=r"A row must be an object of column: value. Got: row 0, "):
        from_rows([row], COLUMNS)


def test_what_json_reads_is_taken() -> None:
    rows = json.loads('[{"n": 1e999, "s": "\\u00fc", "b": null, "t": "2013-01-01T00:00:00Z"}, {"n": NaN}]')
    raw = from_rows(rows, COLUMNS)
    assert np.isinf(raw["n"][0])
    assert np.isnan(raw["n"][1])


def test_rows_are_read_quickly() -> None:
    columns = [Column(name=f"n{i}", kind=Kind.NUMERIC) for i in range(12)]
    columns += [Column(name=f"s{i}", kind=Kind.CATEGORICAL) for i in range(8)]
    row = {column.name: 1.5 if column.kind is Kind.NUMERIC else "text" for column in columns}
    rows = [dict(row) for _ in range(100)]
    best = min(_seconds(lambda: from_rows(rows, columns)) for _ in range(20))
    assert best / len(rows) < 50e-6  # about 5 µs alone; a busy machine is slower


def _seconds(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def test_reading_rows_needs_no_polars() -> None:
    code = "import sys, tidemill.data.raw; print(sorted({'polars', 'pyarrow', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
