"""Faults change what is sent from their beginning to their end, and nothing else."""

from datetime import UTC, datetime

import polars as pl
import pytest

from tidemill.data.schema import Column, Role, Schema
from tidemill.errors import ReplayError
from tidemill.replay.table import faults
from tidemill.settings import Kind

SCHEMA = Schema(
    columns=(
        Column(name="temp", kind=Kind.NUMERIC),
        Column(name="miles", kind=Kind.NUMERIC, missing_allowed=False),
        Column(name="carrier", kind=Kind.CATEGORICAL),
        Column(name="late", kind=Kind.BOOLEAN, role=Role.TARGET),
    )
)
DAYS = pl.Series([datetime(2013, 8, day, tzinfo=UTC) for day in (1, 2, 3, 4)])
ROWS = pl.DataFrame(
    {"temp": [32.0, 212.0, None, 50.0], "miles": [1.0, 10.0, 0.0, 2.0], "carrier": ["UA", "UA", "DL", None]}
)


@pytest.mark.parametrize(
    ("text", "column", "values"),
    [
        ("missing:temp@2013-08-02", "temp", [32.0, None, None, None]),
        ("missing:carrier@2013-08-01..2013-08-02", "carrier", [None, "UA", "DL", None]),
        ("celsius:temp@2013-08-02..2013-08-04", "temp", [32.0, 100.0, None, 50.0]),
        ("kilometres:miles@2013-08-02T00:00+00:00", "miles", [1.0, 16.09344, 0.0, 3.218688]),
        ("renamed:carrier=UA/U9@2013-08-02", "carrier", ["UA", "U9", "DL", None]),
    ],
)
def test_what_each_does(text: str, column: str, values: list[object]) -> None:
    fault = faults.parse(text)
    faults.check([fault], SCHEMA)
    found = faults.apply(ROWS, DAYS, [fault])
    assert found[column].to_list() == pytest.approx(values)
    assert found.drop(column).equals(ROWS.drop(column))
    assert found.schema == ROWS.schema
    assert faults.parse(str(fault)) == fault


def test_two_at_once() -> None:
    both = [faults.parse("celsius:temp@2013-08-01"), faults.parse("missing:temp@2013-08-02..2013-08-03")]
    assert faults.apply(ROWS, DAYS, both)["temp"].to_list() == [0.0, None, None, 10.0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("missing temp", "Got: 'missing temp'. Remedy: write it like missing:visib@2013-08-01"),
        ("mising:temp@2013-08-01", "did you mean 'missing'"),
        ("broken:temp@2013-08-01", "kinds are missing, celsius, kilometres, renamed"),
        ("missing:temp=1/2@2013-08-01", "only a renamed value is given with =FROM/TO"),
        ("renamed:carrier@2013-08-01", "only a renamed value is given with =FROM/TO"),
        ("missing:temp@August", "give dates like 2013-08-01"),
        ("missing:temp@2013-08-02..2013-08-02", "let it end after it began"),
    ],
)
def test_what_is_not_written_so(text: str, said: str) -> None:
    with pytest.raises(ReplayError) as error:
        faults.parse(text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("missing:tmep@2013-08-01", "did you mean 'temp'?"),
        ("missing:late@2013-08-01", "inputs are temp, miles, carrier"),
        ("celsius:carrier@2013-08-01", "carrier is categorical"),
        ("renamed:temp=1/2@2013-08-01", "temp is numeric"),
        ("missing:miles@2013-08-01", "no value of miles was missing"),
    ],
)
def test_what_does_not_fit_the_model(text: str, said: str) -> None:
    with pytest.raises(ReplayError) as error:
        faults.check([faults.parse(text)], SCHEMA)
    assert said in str(error.value)


def test_one_that_would_do_nothing() -> None:
    faults.check_dates([faults.parse("missing:temp@2013-07-01..2013-08-02")], DAYS[0], DAYS[3])
    for text in ("missing:temp@2013-09-01", "missing:temp@2013-07-01..2013-08-01"):
        with pytest.raises(ReplayError, match=r"traffic goes from 2013-08-01 to 2013-08-04"):
            faults.check_dates([faults.parse(text)], DAYS[0], DAYS[3])
