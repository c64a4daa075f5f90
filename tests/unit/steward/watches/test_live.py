"""The ledger's rows as the profile knows them, whatever columns are called and whatever is not there."""

import polars as pl
import pytest

from tidemill.settings import Kind
from tidemill.steward.watches.parts.live import answers, inputs, unreadable

NAMES = ("rows", "^.*$", "*", "inputs", "value", "a b")
COLUMNS = {name: {"kind": Kind.NUMERIC} for name in NAMES}


def test_any_name_of_a_column_will_do() -> None:
    rows = (
        pl.DataFrame([pl.Series(name, [float(index)]) for index, name in enumerate(NAMES)])
        .to_struct("inputs")
        .to_frame()
    )
    found = inputs(rows, COLUMNS)
    assert found.columns == list(NAMES) and found.row(0) == (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
    assert inputs(rows, {"^.*$": COLUMNS["*"]}).columns == ["^.*$"]


@pytest.mark.parametrize("given", [pl.DataFrame({"id": ["1", "2"]}), pl.DataFrame({"inputs": [None, None]})])
def test_without_inputs_all_rows_are_unreadable(given: pl.DataFrame) -> None:
    assert unreadable(given) == 2
    assert inputs(given, COLUMNS).shape == (0, len(NAMES))


def test_what_is_absent_is_missing_and_what_is_covered_is_left_out() -> None:
    given = {"here": 1.0, "hashed": "3f2a", "kept (hash)": "3f2a", "nothing": None}
    rows = pl.DataFrame({"inputs": [given, None]})
    columns = {name: {"kind": Kind.NUMERIC} for name in ("here", "hashed", "kept", "nothing", "absent")}
    found = inputs(rows, columns)
    assert found.to_dicts() == [{"here": 1.0, "nothing": None, "absent": None}]
    assert set(found.dtypes) == {pl.Float64()} and unreadable(rows) == 1


def test_answers_without_probabilities_are_missing() -> None:
    rows = pl.DataFrame(
        {"probabilities": [[0.25, 0.75], None], "label": ["yes", None]},
        schema_overrides={"probabilities": pl.List(pl.Float32)},
    )
    assert answers(rows, ("no", "yes")).rows() == [(0.25, 0.75, "yes"), (None, None, None)]
