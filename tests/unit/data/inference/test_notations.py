"""Notations of numbers and dates, missing marks, whole tables: what is read, what is said, what settings change."""

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from table_settings import settings_for

from tidemill.data import dataset, infer, sources, typed
from tidemill.data.cells import values
from tidemill.data.checks import sentinels
from tidemill.data.checks.findings import Severity
from tidemill.data.schema import Column, Role, Schema
from tidemill.data.tables import Tables
from tidemill.errors import SchemaError, SettingsError
from tidemill.settings import Kind, Objective

ROWS = 400


def inferred(columns: dict[str, list[Any]], **changes: Any) -> tuple[Schema, pl.DataFrame]:
    """Schema and typed table of columns that are repeated to 400 rows."""
    frame = pl.DataFrame({name: pl.Series((some * ROWS)[:ROWS]) for name, some in columns.items()})
    frame = frame.with_columns(other=pl.Series([0.5, 1.5] * (ROWS // 2)))
    schema = infer.infer(frame.lazy(), settings_for(**changes))
    assert Schema.from_dict(schema.to_dict()) == schema
    return schema, typed.apply(frame.lazy(), schema).table


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["-$130.18", "$1,132.52", "$7"], [-130.18, 1132.52, 7]),
        (["$-130.18", "$ 5"], [-130.18, 5]),
        (["($130.18)", "$(5.25)", "$7"], [-130.18, -5.25, 7]),
        (["(130.18)", "1,132.52", "7"], [-130.18, 1132.52, 7]),
        (["130.18-", "7.5"], [-130.18, 7.5]),
        (["-1.3%", "11.3%", "4 %"], [-1.3, 11.3, 4]),
        (["\u2212130.18", "7.5", "\u20137"], [-130.18, 7.5, -7]),
        (["1.234,50 \u20ac", "7,25 \u20ac"], [1234.5, 7.25]),
        (["EUR 1.234,50", "EUR 7,25"], [1234.5, 7.25]),
        (["CHF 1'234.50", "7.25"], [1234.5, 7.25]),
        (["US$1,234.50", "US$7"], [1234.5, 7]),
        (["\u20ac950", "\u20ac1.250", "\u20ac12.500"], [950, 1250, 12500]),
        (["950", "1.250", "12.500"], [950, 1250, 12500]),
    ],
)
def test_numbers_as_people_write_them_are_read_and_told(written: list[str], read: list[float]) -> None:
    schema, table = inferred({"x": written})
    assert schema["x"].kind is Kind.NUMERIC
    assert table["x"].to_list()[: len(read)] == read
    assert schema["x"].reason


@pytest.mark.parametrize(
    "written",
    [["$5", "\u20ac6"], ["5%", "0.5"], ["5 apples", "6 apples"], ["room 5", "room 6"], ["A1", "A2"], ["5-6", "7-8"]],
)
def test_what_may_mean_something_else_stays_a_category(written: list[str]) -> None:
    assert inferred({"x": written})[0]["x"].kind is Kind.CATEGORICAL


def test_any_unit_is_read_where_the_kind_is_settled() -> None:
    assert inferred({"x": ["5 kg", "6.5 kg"]}, kinds={"x": "numeric"})[1]["x"].to_list()[:2] == [5, 6.5]


@pytest.mark.parametrize("decimals", [["1.250", "2.125"], ["1.250", "0.125", "3"], ["1.25", "3", "1.125"]])
def test_decimals_that_are_no_thousands_stay_decimals(decimals: list[str]) -> None:
    assert inferred({"x": decimals})[1]["x"].to_list()[: len(decimals)] == [float(text) for text in decimals]


def test_a_table_settles_what_commas_and_dots_mean() -> None:
    dots = ["950", "1.251", "12.503"]
    assert inferred({"x": dots, "z": ["3,14", "2,7"]})[1]["x"].to_list()[:3] == [950, 1251, 12503]
    schema, table = inferred({"x": dots, "z": ["3.14", "2.7"]})
    assert table["x"].to_list()[:3] == [950, 1.251, 12.503]
    commas = ["1,250", "2,125"]
    assert inferred({"x": commas, "z": ["3.14", "2.7"]})[1]["x"].to_list()[:2] == [1250, 2125]
    schema, table = inferred({"x": commas, "z": ["3,14", "2,7"]})
    assert table["x"].to_list()[:2] == [1.25, 2.125]
    assert "1,250 is read as 1.25, as in 'z'" in str(schema["x"].reason)
    table = inferred({"x": commas, "z": ["3,14", "2,7"]}, formats={"x": "1,234.5"})[1]
    assert table["x"].to_list()[:2] == [1250, 2125]


def test_a_table_settles_whether_days_or_months_come_first(caplog: pytest.LogCaptureFixture) -> None:
    proof, ambiguous = ["13/01/2022", "23/05/2022"], ["08/01/2022", "02/05/2022"]
    schema, table = inferred({"ordered": proof, "when": ambiguous})
    assert table["when"][0] == datetime(2022, 1, 8, tzinfo=UTC)
    assert "read days first, as in 'ordered'" in str(schema["when"].reason)
    assert not caplog.records
    schema, table = inferred({"when": ambiguous})
    assert table["when"][0] == datetime(2022, 8, 1, tzinfo=UTC)
    assert "read months first, which no column of the table settles" in str(schema["when"].reason)
    (warning,) = caplog.records
    assert "2022 is read months first" in (said := warning.getMessage())
    assert said.startswith("when: ") and "data.formats.when=%d/%m/%Y changes that" in said
    schema, table = inferred({"when": ambiguous}, formats={"when": "%d/%m/%Y"})
    assert table["when"][0] == datetime(2022, 1, 8, tzinfo=UTC)
    schema, table = inferred({"ordered": proof, "us": ["01/13/2022", "05/23/2022"], "when": ambiguous})
    assert (schema["us"].format, schema["when"].format) == ("%m/%d/%Y", "%m/%d/%Y")


@pytest.mark.parametrize(
    ("written", "first"),
    [
        (["2023-01-13 08:34:13 UTC", "2023-02-01 00:00:00 UTC"], datetime(2023, 1, 13, 8, 34, 13)),
        (["2023-01-13", "2022-05-28 00:08:45", "2022-05-29 10:00:00"], datetime(2023, 1, 13)),
        (["2023-01-13", "2023-01-14", "2022-05-29 10:00:00"], datetime(2023, 1, 13)),
        (["2023-01-13 08:34", "2022-05-28 00:08:45", "2022-05-28 00:08:45.25"], datetime(2023, 1, 13, 8, 34)),
        (["2023-01-13T08:34:00Z", "2023-01-13", "2023-01-13T08:34:00"], datetime(2023, 1, 13, 8, 34)),
        (["13.01.2023", "28.05.2022 10:15"], datetime(2023, 1, 13)),
    ],
)
def test_dates_and_times_of_several_precisions_are_one_column(written: list[str], first: datetime) -> None:
    schema, table = inferred({"x": written})
    assert schema["x"].kind is Kind.TIMESTAMP
    assert table["x"].null_count() == 0
    assert table.height == ROWS
    assert table["x"][0] == first.replace(tzinfo=UTC)


@pytest.mark.parametrize("mark", ["\\N", "\u2014", "\u2013", "#REF!", "N/A", "Null", "NIL", "-", "Unknown", "n.a."])
def test_spellings_of_nothing_are_missing_among_numbers_and_told(mark: str) -> None:
    schema, table = inferred({"x": ["1.5"] * 15 + [mark], "d": ["2022-01-13"] * 15 + [mark]})
    assert (schema["x"].kind, schema["d"].kind) == (Kind.NUMERIC, Kind.TIMESTAMP)
    assert table["x"].null_count() == table["d"].null_count() == ROWS // 16
    assert f"missing: {mark!r} 25" in str(schema["x"].reason)


def test_what_nearly_is_a_number_is_told_with_a_remedy_that_works(caplog: pytest.LogCaptureFixture) -> None:
    column = {"amount": ["1.5", "2", "3"] * 6 + ["see note", "ask"]}
    schema, _ = inferred(column)
    assert schema["amount"].kind is Kind.CATEGORICAL
    assert schema["amount"].reason == "90% of its values are numbers; the others are 'ask' 20, 'see note' 20"
    assert "'data.missing_marks.amount=[ask,\"see note\"]'" in caplog.text
    schema, table = inferred(column, missing_marks={"amount": ["ask", "see note"]})
    assert schema["amount"].kind is Kind.NUMERIC
    assert table["amount"].null_count() == 40
    dates = {"when": ["2022-01-13", "2022-02-13"] * 9 + ["soon", "later"]}
    assert "90% of its values are dates" in str(inferred(dates)[0]["when"].reason)


def test_few_values_that_are_no_numbers_are_told_before_their_rows_are_set_aside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    schema, table = inferred({"amount": ["1.5"] * 399 + ["oops"]})
    assert table.height == 399
    assert schema["amount"].reason == "1 values are no numbers: 'oops' 1"
    assert "data.missing_marks.amount=[oops]" in caplog.text


def test_marks_can_be_set_and_unset() -> None:
    schema, table = inferred({"country": ["NA", "DE"]}, missing_marks={"country": []})
    assert table["country"].to_list()[:2] == ["NA", "DE"]
    for ages in ([40, -999, 50], ["40", "-999", "50"], [40.0, -999.0, 50.0]):
        schema, table = inferred({"age": ages}, missing_marks={"age": ["-999"]})
        assert schema["age"].missing_allowed
        assert table["age"].to_list()[:3] == [40, None, 50]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.234,5", {"decimal_comma": True, "thousands": "."}),
        ("$1,234.5", {"unit": "$", "thousands": ","}),
        ("1 234,5 kg", {"unit": "kg", "thousands": " ", "decimal_comma": True}),
        ("(1.5)", {"accounting": True}),
        ("1,5", {"decimal_comma": True}),
        ("12%", {"unit": "%"}),
        ("%d.%m.%Y", {"kind": Kind.TIMESTAMP, "format": "%d.%m.%Y"}),
        ("epoch_ms", {"kind": Kind.TIMESTAMP, "format": "epoch_ms"}),
    ],
)
def test_formats_are_given_as_patterns_or_examples(text: str, expected: dict[str, Any]) -> None:
    from tidemill.data.inference import notations

    assert notations.stated("x", text) == Column(**({"name": "x", "kind": Kind.NUMERIC} | expected))


def test_formats_that_say_nothing_or_read_nothing_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"data\.formats\.x = 'german'"):
        inferred({"x": ["1", "2"]}, formats={"x": "german"})
    with pytest.raises(SchemaError, match=r"column 'x' as timestamp: 'a', 'b'"):
        inferred({"x": ["a", "b"]}, formats={"x": "%d.%m.%Y"})


def test_classes_that_are_called_like_nothing_are_classes_and_told(caplog: pytest.LogCaptureFixture) -> None:
    grades = {"grade": ["high", "low", "NA", "None"]}
    _, table = inferred(grades, target="grade")
    assert table["grade"].unique().sort().to_list() == ["NA", "None", "high", "low"]
    assert "'NA' (100 rows), 'None' (100 rows)" in caplog.text
    assert "data.missing_marks.grade=[NA,None]" in caplog.text
    _, table = inferred(grades, target="grade", missing_marks={"grade": ["NA", "None"]})
    assert table["grade"].unique().sort().to_list() == ["high", "low"]


def test_a_target_of_money_is_a_number() -> None:
    schema, _ = inferred({"y": ["$1,500.00", "$-235.50", "$7"], "x": [1.5, 2.5, 3.5]}, target="y")
    assert (schema["y"].kind, schema["y"].unit, schema["y"].role) == (Kind.NUMERIC, "$", Role.TARGET)


def test_marks_are_learned_from_the_test_table_too(tmp_path: Path) -> None:
    rows = [f"{i}.5,{i % 3},{i % 2}" for i in range(250)]
    (tmp_path / "train.csv").write_text("\n".join(["x,z,y", *rows[:200]]))
    (tmp_path / "test.csv").write_text("\n".join(["x,z,y", *rows[200:], "NA,1,0", "NA,2,1"]))
    settings = settings_for(tmp_path / "train.csv", test_path=str(tmp_path / "test.csv"), target="y")
    data = dataset.load(settings, tmp_path)
    assert data.quarantined == 0
    assert data.schema["x"].missing_marks == ("NA",)
    assert data.schema["x"].missing_allowed


@pytest.mark.parametrize("as_text", [True, False])
def test_ids_of_64_bits_are_told_apart(as_text: bool) -> None:
    ids: list[Any] = [2**60, 2**60 + 1, 2**60 + 2]
    schema, table = inferred({"account": list(map(str, ids)) if as_text else ids})
    assert (schema["account"].kind, schema["account"].role) == (Kind.CATEGORICAL, Role.FEATURE)
    assert table["account"].n_unique() == 3
    same, _ = inferred({"account": [str(2**60)] if as_text else [2**60]})
    assert "constant" in str(same["account"].reason)


def test_the_index_of_pandas_is_left_out_with_the_reason(tmp_path: Path) -> None:
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    kept, rows = [i for i in range(700) if i % 7], {"x": [i % 11 for i in range(600)], "y": [0, 1] * 300}
    for name, index in (("__index_level_0__", kept), ("customer", [i * 3 for i in kept]), ("year", [2022, 2023] * 300)):
        table = pa.table({**rows, name: index})
        about = {b"pandas": json.dumps({"index_columns": [name]}).encode()}
        pq.write_table(table.replace_schema_metadata(about), tmp_path / "t.parquet")
        settings = settings_for(tmp_path / "t.parquet", target="y")
        column = infer.infer(sources.open(settings), settings)[name]
        if name == "year":  # it says something of the rows
            assert column.role is Role.FEATURE
        else:
            assert column.role is Role.IGNORED
            assert "the index of a pandas table" in str(column.reason)
        settings = settings_for(tmp_path / "t.parquet", target="y", kinds={name: "numeric"})
        assert infer.infer(sources.open(settings), settings)[name].role is Role.FEATURE


@pytest.mark.parametrize("share", [0.002, 0.08, 0.4])
@pytest.mark.parametrize("mark", [-999.0, 9999.0, -1e7])
def test_numbers_that_stand_for_nothing_get_a_hint_at_any_share(share: float, mark: float) -> None:
    count = int(5_000 * share)
    ages = [float(18 + i % 60) for i in range(5_000 - count)]
    found = list(sentinels.check(checked(ages + [mark] * count)))
    assert [(finding.severity, finding.rows) for finding in found] == [(Severity.WARNING, count)]
    assert f'data.missing_marks.age=["{mark:.0f}"]' in found[0].remedy
    assert not list(sentinels.check(checked(ages)))
    assert not list(sentinels.check(checked([*ages, 99.0, 99.0])))  # no farther than others are


def checked(ages: list[float]) -> Tables:
    from checked_tables import tables

    return tables(pl.DataFrame({"age": ages, "y": [True, False] * (len(ages) // 2) + [True] * (len(ages) % 2)}))


def test_all_that_is_said_stands_on_the_console(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [f'"$1,{i % 900 + 100}.50",{"NULL" if i % 5 else 1.5},{i % 2}' for i in range(300)]
    (tmp_path / "t.csv").write_text("\n".join(["amount,agent,y", *rows]))
    with caplog.at_level(logging.INFO):
        dataset.load(settings_for(tmp_path / "t.csv", target="y", objective=str(Objective.BINARY)), tmp_path)
    assert "amount  numeric      feature (written like '$1,100.50': unit $, thousands ',')" in caplog.text
    assert "missing: 'NULL' 240" in caplog.text


def test_a_number_keeps_its_value_in_every_notation_that_is_not_its_own() -> None:
    frame = pl.DataFrame({"x": ["12.5", "-3", "1e3", "", "13$0", "$5$", "--5", "(5", "5)"]})
    dressed = Column(name="x", kind=Kind.NUMERIC, unit="$", accounting=True)
    assert frame.select(values.read(dressed, pl.String()))["x"].to_list() == [
        12.5, -3, 1000, None, None, 5, None, None, None,
    ]  # fmt: skip
