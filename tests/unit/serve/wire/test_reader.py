"""The quick way of reading rows against `from_rows`: the same arrays bit for bit, or the same refusal."""

import json
import random
from typing import Any

import numpy as np
import pytest

from tidemill.data.raw import from_rows, missing
from tidemill.data.schema import Column, Role, Schema
from tidemill.errors import RequestError
from tidemill.serve.wire import protocol
from tidemill.serve.wire.reader import Reader, Unplain
from tidemill.serve.wire.refusals import Limits
from tidemill.settings import Kind

SCHEMA = Schema(
    columns=(
        Column(name="n", kind=Kind.NUMERIC),
        Column(name="sure", kind=Kind.NUMERIC, missing_allowed=False),
        Column(name="a name", kind=Kind.CATEGORICAL),
        Column(name="märked", kind=Kind.CATEGORICAL, missing_marks=("?", "n/a")),
        Column(name="given", kind=Kind.CATEGORICAL, missing_allowed=False, missing_marks=("?",)),
        Column(name="b", kind=Kind.BOOLEAN),
        Column(name="t", kind=Kind.TIMESTAMP),
        Column(name="id", kind=Kind.CATEGORICAL, role=Role.KEY),
        Column(name="shop", kind=Kind.NUMERIC, role=Role.KEY),
        Column(name="sex", kind=Kind.CATEGORICAL, role=Role.SENSITIVE),
        Column(name="note", kind=Kind.CATEGORICAL, role=Role.IGNORED),
        Column(name="target", kind=Kind.CATEGORICAL, role=Role.TARGET),
    )
)
NUMBERS = [0, 1, -1, 1.5, -0.0, 1e300, 5e-324, 2**53, -(2**53), 2**53 - 1, 9007199254740993.0]
TEXTS = ["x", "", " x\u00a0", "?\t", "Zürich", "東京", "🜁" * 50, " ", "a\n\"b'\\\t", "\x00", "null", "e\u0301"]
MOMENTS = ["2013-06-30T14:05:00+02:00", "2013-06-30", "1969-12-31T23:59:59.999999Z", "", 0, -1, 2**62, -(2**63) + 1]
GOOD: dict[str, list[Any]] = {
    "n": [*NUMBERS, "1.5", " 2 ", True, None],
    "sure": [*NUMBERS, "-3"],
    "a name": [*TEXTS, "?", 1, 2.0, True, None],
    "märked": [*TEXTS, "?", "n/a", None],
    "given": [text for text in TEXTS if text.strip(" ?\t")],
    "b": [True, False, 0, 1.0, "true", "No ", "", None],
    "t": [*MOMENTS, None],
    "id": ["k1", "ü", "", 5, 5.5, True, None],
    "shop": [1, 2.0, "3", None],
    "sex": ["f", None],
    "note": ["x", None, 1],
}
WRONG: dict[str, list[Any]] = {
    "n": [2**53 + 1, -(2**53) - 1, 10**30, "1,5", str(2**53 + 1), [], {}],
    "sure": [None, 2**63, "", "x"],
    "a name": [["x"]],
    "märked": [{}],
    "given": [None, "", "?", " ?", "\u2003"],
    "b": [2, -1.0, "maybe"],
    "t": ["yesterday", 1.5, True, 2**63, -(2**63), "2013-13-01", [1], "24:00"],
    "id": [[1], {"a": 1}],  # what other columns hold is nobody's concern
    "unknown": [1],
    "target": ["yes"],
}
ALWAYS = ("sure", "given")


def drawn(generator: random.Random, wrong: float) -> list[dict[str, Any]]:
    """Some rows; each value is wrong with the probability `wrong`."""
    rows = []
    for _ in range(generator.randint(1, 5)):
        row: dict[str, Any] = {}
        for name in GOOD.keys() | WRONG.keys():
            if name not in ALWAYS and generator.random() < 0.3 + 0.7 * (name not in GOOD):
                continue
            values = GOOD.get(name, [])
            if not values or (name in WRONG and generator.random() < wrong):
                values = WRONG[name]
            row[name] = generator.choice(values)
        if generator.random() < wrong:
            row.pop(generator.choice(ALWAYS), None)
        if generator.random() < wrong:
            row[generator.choice(("unknown", "target"))] = 1
        items = list(row.items())
        generator.shuffle(items)
        rows.append(dict(items))
    return rows


def slowly(text: bytes, reader: Reader) -> Any:
    try:
        return from_rows(json.loads(text)["rows"], reader.columns, reader.others)
    except RequestError as error:
        return str(error)


def quickly(text: bytes, reader: Reader) -> Any:
    """As a request goes: the typed decoder, `raw`, and what both leave to the slow way."""
    try:
        decoded, _ = protocol.decode(text, reader, Limits())
        if decoded.raw is not None:
            return decoded.raw
        try:
            return reader.raw(decoded.records or [])
        except Unplain:
            return protocol.reread(text, reader, Limits())[0].raw
    except RequestError as error:
        return str(error)


def same(got: Any, expected: Any) -> bool:
    if isinstance(got, str) or isinstance(expected, str):
        return bool(got == expected)
    if list(got) != list(expected):
        return False
    return all(
        got[name].dtype == expected[name].dtype
        and (
            got[name].tolist() == expected[name].tolist()
            if got[name].dtype == object
            else got[name].view(np.int64).tolist() == expected[name].view(np.int64).tolist()
        )
        for name in expected
    )


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [0.0, 0.03])
@pytest.mark.parametrize("ascii", [True, False])
def test_thousands_of_random_rows_are_read_as_by_the_slow_way(wrong: float, ascii: bool) -> None:
    reader, generator = Reader(SCHEMA), random.Random(int(wrong * 100) + ascii)
    plain = refused = 0
    for _ in range(1500):
        text = json.dumps({"rows": drawn(generator, wrong)}, ensure_ascii=ascii).encode()
        expected = slowly(text, reader)
        assert same(quickly(text, reader), expected), text
        refused += isinstance(expected, str)
        request = reader.request(text)
        if request is not None:
            try:
                assert same(reader.raw(request.rows), expected), text
                plain += 1
            except Unplain:
                pass
    assert plain > 20, "the quick way was taken"
    assert (refused > 20) == (wrong > 0)


@pytest.mark.parametrize("name", WRONG)
def test_each_wrong_value_is_refused_in_the_slow_ways_words(name: str) -> None:
    reader = Reader(SCHEMA)
    for value in WRONG[name]:
        text = json.dumps({"rows": [{"sure": 1, "given": "x"}, {"sure": 1, "given": "x", name: value}]}).encode()
        expected = slowly(text, reader)
        assert isinstance(expected, str) == (name != "id") and same(quickly(text, reader), expected)
        assert name == "id" or "row 1" in expected


def test_integers_that_float64_does_not_hold_are_refused_and_floats_of_that_size_are_not() -> None:
    reader = Reader(SCHEMA)

    def read(number: str) -> Any:
        return quickly(b'{"rows":[{"sure":%s,"given":"x"}]}' % number.encode(), reader)

    for number in ("9007199254740992", "-9007199254740992", "9007199254740993.0", "1e17"):
        assert read(number)["sure"].tolist() == [float(number)]
    for number in ("9007199254740993", "-9007199254740993", "9" * 30):
        assert "±2^53" in read(number)
    assert "Unicode" in quickly(b'{"rows":[{"sure":1,"given":"\\ud800"}]}', reader)


def test_one_blocks_shape_is_not_anothers() -> None:
    """One, two and no columns of a kind take different ways through NumPy."""
    for names in (["n"], ["a name"], ["b"], ["n", "sure"], ["a name", "given"], ["t"]):
        reader = Reader(Schema(columns=tuple(SCHEMA[name] for name in names)))
        for count in (1, 2, 5):
            rows = [{name: GOOD[name][i % 2] for name in names} for i in range(count)]
            text = json.dumps({"rows": rows}).encode()
            assert same(quickly(text, reader), slowly(text, reader)), names


def test_a_records_key_is_all_of_its_key_columns_and_the_same_in_rows_and_columns() -> None:
    reader = Reader(SCHEMA)
    rows = [{"id": "a", "shop": 1}, {"id": "a", "shop": 2}, {"id": "a"}, {"shop": 1}, {}]
    text = json.dumps({"rows": [{"sure": 1, "given": "x", **row} for row in rows]}).encode()
    keys = [reader.key_of(record) for record in reader.request(text).rows]
    assert keys[0] != keys[1] and keys[2:] == [None] * 3 and None not in keys[:2]
    columns = {name: [row.get(name) for row in rows] for name in ("id", "shop")}
    assert reader.keys_in(columns) == keys == protocol.reread(text, reader, Limits())[0].keys
    assert reader.keys_in({"id": ["a"]}) is None
    without = Reader(Schema(columns=SCHEMA.columns[:3]))
    assert without.keys_in(columns) is None and without.keys == ()


def test_what_stands_in_for_a_column_is_missing() -> None:
    for column in Reader(SCHEMA).columns:
        if column.missing_allowed:
            expected = from_rows([{}, {}], [column])[column.name]
            assert same({"": missing(column.kind, 2)}, {"": expected})


@pytest.mark.parametrize("name", ['say "hi"', "back\\slash", "new\nline", "\x01", "dot.ted", "f0", "rows", "日本"])
def test_a_column_of_any_name_is_read(name: str) -> None:
    """msgspec's typed decoders refuse some names; these go the slow way."""
    columns = (Column(name=name, kind=Kind.NUMERIC), Column(name="f0 too", kind=Kind.CATEGORICAL))
    reader = Reader(Schema(columns=columns))
    text = json.dumps({"rows": [{name: 1.5, "f0 too": "x"}, {name: 2, "f0 too": None}]}).encode()
    raw = quickly(text, reader)
    assert raw[name].tolist() == [1.5, 2.0]
    assert raw["f0 too"].tolist() == ["x", ""]
    assert "unknown column" in quickly(json.dumps({"rows": [{"other": 1}]}).encode(), reader)
