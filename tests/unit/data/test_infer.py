"""Kinds from values, roles from settings, schemas to YAML and back."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from infer_parts import refusal
from table_settings import settings_for

from tidemill.data import infer, sources, typed
from tidemill.data.schema import Column, Role
from tidemill.settings import Kind

ROWS = 400


def column(values: list[Any] | pl.Series, name: str = "x", **changes: Any) -> Column:
    """What one column of `values` (repeated to 400 rows) is inferred as."""
    series = values if isinstance(values, pl.Series) else pl.Series(values * (ROWS // len(values)), strict=False)
    frame = pl.DataFrame({name: series}).with_columns(other=pl.Series([0.5, 1.5] * (series.len() // 2)))
    return infer.infer(frame.lazy(), settings_for(**changes))[name]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2.5", "-3e4", "+7"], Kind.NUMERIC),
        (["0", "1"], Kind.NUMERIC),
        ([0, 1], Kind.NUMERIC),
        (["0.5", "00.5"], Kind.NUMERIC),
        (["007", "008"], Kind.CATEGORICAL),
        (["12345678901234567", "12345678901234568"], Kind.CATEGORICAL),
        (["1e300", "2"], Kind.NUMERIC),
        (["true", "False"], Kind.BOOLEAN),
        (["yes", "NO"], Kind.BOOLEAN),
        (["y", "n"], Kind.BOOLEAN),
        (["yes", "no", "maybe", "no"], Kind.CATEGORICAL),
        ([True, False], Kind.BOOLEAN),
        (["a", "b", "3", "4"], Kind.CATEGORICAL),
        (["3%", "4%"], Kind.NUMERIC),
        (["3%", "0.5", "4%", "0.25"], Kind.CATEGORICAL),
        (["3 apples", "4 apples"], Kind.CATEGORICAL),
        (["Q1", "Q2"], Kind.CATEGORICAL),
        ([2**60, 2**60 + 1], Kind.CATEGORICAL),
        ([float("nan"), 1.0, float("inf"), 2.0], Kind.NUMERIC),
        (["1.2.3", "4.5.6"], Kind.CATEGORICAL),
        (["１", "２"], Kind.CATEGORICAL),
    ],
)
def test_kinds(values: list[Any], kind: Kind) -> None:
    assert column(values).kind is kind


@pytest.mark.parametrize(
    ("values", "comma", "thousands"),
    [
        (["1,5", "2", "-3,25", "1e3"], True, None),
        (["0,125", "1,250"], True, None),
        (["1.234,5", "7,5"], True, "."),
        (["1.234", "1.234,50"], True, "."),
        (["1 234,5", "7,5"], True, " "),
        (["1,234.5", "7.5"], False, ","),
        (["1,234", "999"], False, ","),
        (["1,234,567", "8,000"], False, ","),
        (["1'234.5", "7"], False, "'"),
        ([" 1 ", "2"], False, None),
    ],
)
def test_notations_of_numbers(values: list[str], comma: bool, thousands: str | None) -> None:
    found = column(values)
    assert (found.kind, found.decimal_comma, found.thousands) == (Kind.NUMERIC, comma, thousands)


@pytest.mark.parametrize(
    ("values", "pattern"),
    [
        (["2013-01-31", "2014-12-01"], "%Y-%m-%d"),
        (["2013-01-31 05:00", "2013-02-01 06:01"], "%Y-%m-%d %H:%M"),
        (["2013-01-31T05:00:00.25", "2013-02-01T06:01:00"], "%Y-%m-%dT%H:%M:%S%.f"),
        (["2013-01-31T05:00:00Z", "2013-01-31T05:00:00+01:00"], "%Y-%m-%dT%H:%M:%S%.f%#z"),
        (["2013-01-31 05:00:00 +0100", "2013-01-31 05:00:00 -0530"], "%Y-%m-%d %H:%M:%S%.f%#z"),
        (["31.1.2013", "01.02.2013"], "%d.%m.%Y"),
        (["31.1.13", "01.02.13"], "%d.%m.%y"),
        (["31.01.2013 05:00:00", "1.2.2013 06:00:00"], "%d.%m.%Y %H:%M:%S%.f"),
        (["1/31/2013", "02/01/2013"], "%m/%d/%Y"),
        (["31/1/2013", "02/01/2013"], "%d/%m/%Y"),
        (["01/02/2013", "02/01/2013"], "%m/%d/%Y"),
        (["1/31/2013 5:00 PM", "02/01/2013 6:00 AM"], "%m/%d/%Y %I:%M %p"),
        (["31 Jan 2013", "1 Feb 2013"], "%d %b %Y"),
        (["Jan 31, 2013", "Feb 1, 2013"], "%b %d, %Y"),
    ],
)
def test_dates_as_text(values: list[str], pattern: str) -> None:
    found = column(values)
    assert (found.kind, found.format) == (Kind.TIMESTAMP, pattern)


def test_kinds_are_decided_over_the_whole_column() -> None:
    late_text = pl.Series(["1"] * 5000 + ["x"] * 5000)
    late_fraction = pl.Series(["1"] * 9999 + ["2.5"])
    late_day = pl.Series(["01/02/2013"] * 9999 + ["13/02/2013"])
    assert column(late_text).kind is Kind.CATEGORICAL
    assert column(late_fraction).kind is Kind.NUMERIC
    assert column(late_day).format == "%d/%m/%Y"


def test_few_odd_values_do_not_change_a_kind_and_their_rows_are_kept_apart() -> None:
    frame = pl.DataFrame({"x": [str(i % 50) for i in range(999)] + ["oops"], "y": [0.5, 1.5] * 500})
    schema = infer.infer(frame.lazy(), settings_for())
    assert schema["x"].kind is Kind.NUMERIC
    assert typed.apply(frame.lazy(), schema).quarantined["x"].to_list() == ["oops"]


def test_missing_marks_are_found_and_more_of_them_among_numbers() -> None:
    assert column(["a", "?", "b", "NA"]).missing_marks == ("?", "NA")
    assert column(["a", "-", "b", "none"]).missing_marks == ()
    assert column(["1", "-", "2", "NaN"]).missing_marks == ("-", "NaN")
    assert column(["2013-01-01", "unknown", "2013-01-02", ""]).missing_marks == ("unknown",)
    assert column(["1", ""]).missing_allowed
    assert not column(["1", "2"]).missing_allowed
    assert column([1.0, float("nan")]).missing_allowed


@pytest.mark.parametrize(
    ("values", "name", "reason"),
    [
        ([""], "x", "empty"),
        ([None], "x", "empty"),
        (["?"], "x", "empty"),
        (["same"], "x", "constant"),
        ([7], "x", "constant"),
        (["7"], "x", "constant"),
        ([True], "x", "constant"),
        (pl.Series(range(ROWS)), "x", "numbers the rows"),
        (pl.Series([str(i) for i in range(ROWS)]), "x", "numbers the rows"),
        (pl.Series([i * 7 for i in range(ROWS)]), "user_id", "names the record"),
        (pl.Series([str(i * 7) for i in range(ROWS)]), "userId", "names the record"),
        (pl.Series([f"user {i}" for i in range(ROWS)]), "x", "names the record"),
        (pl.Series([f"a long text that goes on and on, number {i % 300}" for i in range(ROWS)]), "x", "prose"),
        (pl.Series([[i] for i in range(ROWS)]), "x", "no kind reads"),
        (pl.Series([b"x"] * ROWS), "x", "no kind reads"),
    ],
)
def test_useless_features_are_ignored_with_the_reason(values: Any, name: str, reason: str) -> None:
    found = column(values, name)
    assert found.role is Role.IGNORED
    assert reason in str(found.reason)


def test_a_value_or_none_is_not_constant_and_ids_that_repeat_are_categories() -> None:
    assert column(["seen", None]).role is Role.FEATURE
    assert column([3, 4, 5, 5], "Clothing ID").kind is Kind.CATEGORICAL
    assert column([3, 4, 5, 5], "paid").kind is Kind.NUMERIC
    assert column([0.5, 4.0], "acid").kind is Kind.NUMERIC
    assert column([0.5, 4.0], "some_id").kind is Kind.NUMERIC


def test_settings_decide_where_they_speak() -> None:
    assert column(pl.Series([f"user {i}" for i in range(ROWS)]), kinds={"x": "categorical"}).role is Role.FEATURE
    assert column([1, 2], kinds={"x": "categorical"}).kind is Kind.CATEGORICAL
    assert column(["1", "0"], kinds={"x": "boolean"}).kind is Kind.BOOLEAN
    assert column([1356998400, 1356998401], kinds={"x": "timestamp"}).format == "epoch_s"
    assert column([1356998400123, 1356998400124], kinds={"x": "timestamp"}).format == "epoch_ms"
    assert column(["1356998400", "1356998401"], kinds={"x": "timestamp"}).format == "epoch_s"
    assert column(["20130131", "20130201"], kinds={"x": "timestamp"}).format == "%Y%m%d"
    assert column(["20130131", "20130201"], time="x", time_is_input=True).format == "%Y%m%d"
    assert column([1, 2], time="x", time_is_input=True).kind is Kind.NUMERIC
    assert column([1, 2], quality={"ranges": {"x": [0, None]}}).minimum == 0
    assert column([True, False], quality={"domains": {"x": [True]}}).domain == ("true",)


def test_a_text_target_keeps_its_labels() -> None:
    frame = pl.DataFrame({"x": [1.5, 2.5] * 100, "y": ["yes", "no"] * 100})
    assert infer.infer(frame.lazy(), settings_for(target="y"))["y"].kind is Kind.CATEGORICAL
    frame = frame.with_columns(y=pl.Series(["TRUE", "FALSE"] * 100))
    assert infer.infer(frame.lazy(), settings_for(target="y"))["y"].kind is Kind.BOOLEAN


def test_a_target_of_numbers_in_another_notation_is_numeric() -> None:
    frame = pl.DataFrame({"x": [1.5, 2.5] * 100, "y": ["5942,59", "990,00"] * 100, "z": ["A 1,5", "B 2"] * 100})
    target = infer.infer(frame.lazy(), settings_for(target="y"))["y"]
    assert target.kind is Kind.NUMERIC and target.decimal_comma
    assert infer.infer(frame.lazy(), settings_for(target="z"))["z"].kind is Kind.CATEGORICAL


def test_roles_are_never_ignored_by_inference() -> None:
    frame = pl.DataFrame({"k": range(200), "y": [1] * 200, "w": ["1,5"] * 200, "s": ["f"] * 200, "x": [1.5, 2.5] * 100})
    settings = settings_for(target="y", key="k", weight="w", sensitive=["s"])
    schema = infer.infer(frame.lazy(), settings)
    roles = {column.name: column.role for column in schema.columns}
    assert roles == {"k": Role.KEY, "y": Role.TARGET, "w": Role.WEIGHT, "s": Role.SENSITIVE, "x": Role.FEATURE}
    assert [column.name for column in schema.inputs] == ["x"]


def test_named_columns_must_be_there() -> None:
    frame = pl.DataFrame({"Income": [1.5, 2.5], "age": [1, 2]})
    assert "did you mean 'Income'?" in refusal(frame, target="incom")
    assert "data.key" in refusal(frame, key="zzzz")
    assert "correct the name" in refusal(frame, key="zzzz")
    assert "data.kinds" in refusal(frame, kinds={"ages": "numeric"})
    assert "data.quality.ranges" in refusal(frame, quality={"ranges": {"ages": [0, 1]}})
    assert "A column has one role" in refusal(frame, target="age", ignored=["age"])


def test_what_cannot_be_is_refused() -> None:
    frame = pl.DataFrame({"x": ["a", "b"], "y": [1.5, 2.5], "n": [[1], [2]]})
    assert "as numeric: 'a', 'b'" in refusal(frame, kinds={"x": "numeric"})
    assert "as timestamp: 'a', 'b'" in refusal(frame, kinds={"x": "timestamp"})
    assert "of kind numeric must hold" in refusal(frame, kinds={"n": "numeric"})
    assert "data.weight must name a numeric" in refusal(frame, weight="x")
    assert "data.time must name" in refusal(frame, time="x")
    assert "A range is for numeric columns" in refusal(frame, quality={"ranges": {"x": [0, 1]}})
    assert "A table must have rows" in refusal(frame.clear())
    assert "at least one feature" in refusal(frame.select("y"), target="y")


def test_any_column_name_will_do() -> None:
    names = [
        "count",
        "text",
        "rows",
        "number of x",
        "0:numbers",
        "len",
        "literal",
        "read",
        "x\ny",
        "größe",
        " a ",
        "{}",
    ]
    frame = pl.DataFrame(
        {name: ["1", "2.5", "a", "b"] * 50 for name in names} | {"x": ["1,5", "2"] * 100, "y": [1, 2] * 100}
    )
    schema = infer.infer(frame.lazy(), settings_for(target="y"))
    assert [column.kind for column in schema.inputs] == [Kind.CATEGORICAL] * len(names) + [Kind.NUMERIC]
    assert typed.apply(frame.lazy(), schema).table.columns == frame.columns


def test_an_odd_csv_from_file_to_kinds(tmp_path: Path) -> None:
    rows = [
        f'{i};{i % 37},{i % 10};{1 + i % 28}.{1 + i % 12}.2013;"Zeile 1\nZeile {i % 3}";;{["ja", "nein"][i % 2]}'
        for i in range(300)
    ]
    text = "\ufeffNr;Preis;Tag;Notiz;Leer;Ziel\r\n" + "\r\n".join(rows) + "\r\n"
    (tmp_path / "odd.csv").write_bytes(text.encode())
    settings = settings_for(tmp_path / "odd.csv", target="Ziel")
    frame = sources.open(settings)
    schema = infer.infer(frame, settings)
    assert {c.name: str(c.kind) for c in schema.inputs} == {
        "Preis": "numeric",
        "Tag": "timestamp",
        "Notiz": "categorical",
    }
    table = typed.apply(frame, schema).table
    assert table.row(1)[:2] == (1.1, table["Tag"][1])
    assert table["Tag"][1].isoformat() == "2013-02-02T00:00:00+00:00"
    assert table["Notiz"][1] == "Zeile 1\nZeile 1"
