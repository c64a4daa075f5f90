import json
from pathlib import Path

import numpy as np
import pytest

from tidemill.bundle import golden
from tidemill.bundle.golden import Golden
from tidemill.data.raw import MISSING_TIMESTAMP
from tidemill.data.schema import Column
from tidemill.errors import BundleError
from tidemill.settings import Kind

COLUMNS = (
    Column(name="n", kind=Kind.NUMERIC),
    Column(name="c", kind=Kind.CATEGORICAL),
    Column(name="b", kind=Kind.BOOLEAN),
    Column(name="t", kind=Kind.TIMESTAMP),
)
SAMPLE = {
    "n": np.array([1.5, 0.1]),
    "c": np.array(["é", ""], dtype=object),
    "b": np.array([1.0, np.nan]),
    "t": np.array([5, MISSING_TIMESTAMP]),
}


def made() -> Golden:
    raw = golden.rows(SAMPLE, COLUMNS)
    rows = len(raw["n"])
    probabilities = np.random.default_rng(0).dirichlet([1, 1], rows).astype(np.float32)
    return Golden(raw=raw, answers={"probabilities": probabilities, "label": np.array(["ä"] * rows, object)}, real=2)


def test_each_column_in_turn_is_hostile_and_the_last_row_all_missing() -> None:
    raw = golden.rows(SAMPLE, COLUMNS)
    assert {len(values) for values in raw.values()} == {2 + 10 + 6 + 3 + 5 + 1}
    assert np.isposinf(raw["n"]).sum() == 1 and np.isneginf(raw["n"]).sum() == 1
    assert {2.0**24 + 1, 2.0**53} <= set(raw["n"].tolist())
    assert max(map(len, raw["c"])) == 10_000
    hostile = raw["n"] != 1.5
    assert (raw["c"][hostile][1:-1] == "é").all(), "one hostile value a row"
    assert np.isnan(raw["n"][-1]) and raw["c"][-1] == "" and raw["t"][-1] == MISSING_TIMESTAMP


def test_what_is_written_is_read_back_exactly_and_is_standard_json(tmp_path: Path) -> None:
    before = made()
    golden.write(before, tmp_path / "golden.json")
    json.loads((tmp_path / "golden.json").read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(name))
    after = golden.read(tmp_path / "golden.json", COLUMNS)
    assert after.real == 2
    for name, values in {**before.raw, **before.answers}.items():
        found = {**after.raw, **after.answers}[name]
        assert found.dtype == values.dtype
        np.testing.assert_array_equal(found, values)


def test_replay_passes_the_same_and_near_answers() -> None:
    expected = made()
    golden.replay(lambda raw: expected.answers, expected)
    near = expected.answers["probabilities"] + np.float32(2e-6)
    golden.replay(lambda raw: {**expected.answers, "probabilities": near}, expected)


def test_replay_names_the_row_that_differs() -> None:
    expected = made()
    other = expected.answers["label"].copy()
    other[4] = "ü"
    with pytest.raises(BundleError, match="1 of 27 rows differ; golden row 4: label is ü, recorded as ä"):
        golden.replay(lambda raw: {**expected.answers, "label": other}, expected)


def test_answers_of_another_shape_or_nan_differ() -> None:
    expected = np.ones((3, 2), np.float32)
    assert not golden.same(np.ones((3, 3), np.float32), expected).any()
    assert not golden.same(np.full((3, 2), np.nan, np.float32), expected).any()


@pytest.mark.parametrize(
    "content",
    [None, "", "{}", '{"format": 2}', "[]", '{"format":1,"real":0,"rows":{"x":[1]},"answers":{}}', b"\xff\xfe"],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "golden.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BundleError, match="golden rows can be read"):
        golden.read(path, COLUMNS)


@pytest.mark.parametrize("seed", range(40))
def test_golden_rows_are_bounded_and_every_column_meets_every_hostile_value(seed: int) -> None:
    random = np.random.default_rng(seed)
    allowed = random.permutation(list(Kind))[: random.integers(1, len(Kind) + 1)]
    kinds = [Kind(kind) for kind in random.choice(allowed, random.integers(1, 400 if seed % 2 else 40))]
    columns = [Column(name=str(place), kind=kind) for place, kind in enumerate(kinds)]
    usual = {Kind.NUMERIC: [7.0], Kind.BOOLEAN: [1.0], Kind.CATEGORICAL: ["usual"], Kind.TIMESTAMP: [7]}
    sample = {c.name: np.array(usual[c.kind], object if c.kind is Kind.CATEGORICAL else None) for c in columns}
    raw = golden.rows(sample, columns)
    rows = {len(values) for values in raw.values()}.pop() - 2
    values = sum(len(golden._HOSTILE[kind]) for kind in kinds)
    assert rows <= golden.MOST_ROWS
    assert rows == values or values > golden.MOST_ROWS, "one hostile value a row, while there is room"
    for column in columns:
        met = [str(value)[:100] for value in raw[column.name][1:-1]]
        assert {str(value)[:100] for value in golden._HOSTILE[column.kind]} <= set(met), column
    assert sum(len(value) > 100 for c in columns if c.kind is Kind.CATEGORICAL for value in raw[c.name]) <= 32


@pytest.mark.parametrize(("width", "most"), [(800, 250), (5_000, 40), (30_000, 10)])
def test_golden_rows_of_wide_tables_do_not_grow_with_the_columns(width: int, most: int) -> None:
    columns = [Column(name=str(place), kind=[Kind.NUMERIC, Kind.CATEGORICAL][place % 2]) for place in range(width)]
    one = {Kind.NUMERIC: np.array([1.5]), Kind.CATEGORICAL: np.array(["a"], object)}
    raw = golden.rows({column.name: one[column.kind] for column in columns}, columns)
    assert {len(values) for values in raw.values()} == {1 + most + 1}


def test_neighbours_in_a_row_do_not_have_the_same_oddity() -> None:
    columns = [Column(name=str(place), kind=Kind.NUMERIC) for place in range(2_000)]
    raw = golden.rows({column.name: np.array([1.5]) for column in columns}, columns)
    for row in range(1, len(raw["0"]) - 1):
        assert len({str(raw[column.name][row]) for column in columns}) > 2
