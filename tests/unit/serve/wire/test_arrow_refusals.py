"""Arrow streams that are refused: wrong, hostile and corrupt ones."""

import dataclasses
import datetime as dt
import io
import random
import struct
from collections.abc import Iterator
from decimal import Decimal
from random import Random
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from arrow_parts import LIMITS, READER, decode, stream

from tidemill.data.raw import EXACT
from tidemill.data.schema import Column, Schema
from tidemill.errors import RequestError
from tidemill.serve.wire import arrow, arrow_stream
from tidemill.serve.wire.reader import Reader
from tidemill.settings import Kind

STRICT = Reader(
    Schema(
        columns=tuple(
            Column(name=name, kind=kind, missing_allowed=False, missing_marks=("?",) if name == "c" else ())
            for name, kind in (("c", Kind.CATEGORICAL), ("b", Kind.BOOLEAN), ("t", Kind.TIMESTAMP), ("m", Kind.NUMERIC))
        )
    )
)


@pytest.mark.parametrize(
    ("columns", "status", "text"),
    [
        ({"n": pa.array([1.0]), "mm": pa.array([1])}, 422, "row 0, unknown column \"mm\". Remedy: did you mean 'm'"),
        ({"n": pa.array([1.0]), "y": pa.array(["a"])}, 422, 'unknown column "y"'),
        ({"m": pa.array([1.0, 2.0])}, 422, "row 0, column 'n' (numeric) is missing"),
        ({"n": pa.array([1.0, None])}, 422, "row 1, column 'n' (numeric) is missing"),
        ({"n": pa.array([1.0, float("nan")])}, 422, "row 1, column 'n' (numeric) is missing"),
        ({"n": pa.array([1, None])}, 422, "row 1, column 'n' (numeric) is missing"),
        ({"n": pa.array(["x"])}, 422, "A numeric column takes a number, or null. Got: row 0, column 'n': \"x\""),
        ({"n": pa.array([1.0]), "b": pa.array([2])}, 422, "takes true or false, or null. Got: row 0, column 'b': 2"),
        ({"n": pa.array([1.0]), "t": pa.array([1.5])}, 422, "row 0, column 't': 1.5"),
        ({"n": pa.array([1.0]), "t": pa.array(["soon"])}, 422, "column 't': \"soon\""),
        ({"n": pa.array([0, EXACT + 1])}, 422, "within ±2^53, where float64 holds each of them exactly. Got: row 1, "),
        ({"n": pa.array([0, -(2**63)])}, 422, "within ±2^53"),
        ({"n": pa.array([1.0, 1.0]), "m": pa.array([None, EXACT + 1])}, 422, "row 1, column 'm'"),
        ({"n": pa.array([1.0]), "m": pa.array([2**64 - 1], pa.uint64())}, 422, "within ±2^53"),
        ({"n": pa.array([1.0, 1.0]), "t": pa.array([0, 2**62], pa.timestamp("ms"))}, 422, "row 1, column 't': 46116"),
        ({"n": pa.array([1.0]), "t": pa.array([-(2**31)], pa.int32()).cast(pa.date32())}, 422, "row 0, column 't': -1"),
        ({"n": pa.array([[1.0]])}, 422, "numbers, booleans, text, dates, times or timestamps. Got: column 'n': list"),
        ({"n": pa.array([{"a": 1}])}, 422, "column 'n': struct"),
        ({"n": pa.array([b"a"])}, 422, "column 'n': binary"),
        ({"n": pa.array([1, 1]).dictionary_encode()}, 422, "column 'n': dictionary of int"),
        ({"n": pa.array([Decimal("1.5")], pa.decimal256(50, 2))}, 422, "'n': decimal of more than 128 bits"),
        ({"n": pa.array([Decimal("15E2")], pa.decimal128(5, -2))}, 422, "float64 or decimal128"),
        ({"n": pa.array([1.0]), "b": pa.array([dt.time(1)])}, 422, "row 0, column 'b': time. Remedy: send true or"),
        ({"n": pa.array([1.0] * 101)}, 413, "at most 100 rows and 20000 bytes. Got: 101 rows"),
        ({"n": pa.array([1.0]), "c": pa.array(["x" * 20_000])}, 413, "bytes"),
        (pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["n", "n"]), 400, "two columns are called 'n'"),
        (b"", 400, "A request's body is an Arrow IPC stream. Got: it has no schema"),
        (b'{"rows": []}', 400, "no message begins at byte 0"),
        (b"\xff" * 8, 400, "a message at byte 8 is cut short"),
        (stream({"n": pa.array([1.0])})[:-12], 400, "are cut short"),
        (stream({"n": pa.array([1.0])})[:200], 400, "is cut short"),
        (
            stream({"n": pa.array([1.0])})[:-8] + stream({"n": pa.array([1.0])}),
            400,
            "a message of the kind 1 is out of",
        ),
        (stream({"n": pa.array(["a"])}).replace(b"a\0\0\0\0\0\0\0", b"\xff\0\0\0\0\0\0\0"), 400, "Arrow IPC stream"),
    ],
)
def test_what_no_model_could_answer_is_refused(columns: Any, status: int, text: str) -> None:
    with pytest.raises(RequestError) as caught:
        decode(columns)
    assert caught.value.status == status and text in str(caught.value)


@pytest.mark.parametrize(
    ("name", "array", "text"),
    [
        ("c", pa.array(["a", None]), "row 1, column 'c' (categorical) is missing"),
        ("c", pa.array(["a", "?"]), "row 1, column 'c'"),
        ("b", pa.array([True, None]), "row 1, column 'b'"),
        ("t", pa.array([0, None], pa.timestamp("us")), "row 1, column 't'"),
        ("t", pa.array([0, None], pa.timestamp("ns")), "row 1, column 't'"),
        ("m", pa.nulls(2), "row 0, column 'm'"),
    ],
)
def test_missing_values_are_refused_where_none_is_allowed(name: str, array: Any, text: str) -> None:
    columns = {
        "c": pa.array(["a", "b"]),
        "b": pa.array([True, False]),
        "t": pa.array([0, 1]),
        "m": pa.array([1, 2]),
    }
    assert decode(columns, STRICT).raw["c"].tolist() == ["a", "b"]
    with pytest.raises(RequestError, match="must have one") as caught:
        decode(columns | {name: array}, STRICT)
    assert text in str(caught.value)


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_small_body_cannot_stand_for_a_large_one(compression: str) -> None:
    bomb = stream({"n": pa.array([0.0] * 7), "c": pa.array(["x" * 3_000_000] + [""] * 6)}, compression=compression)
    assert len(bomb) < 20_000
    with pytest.raises(RequestError, match="bytes, decompressed") as caught:
        decode(bomb)
    assert caught.value.status == 413


@pytest.mark.parametrize("type_", [pa.dictionary(pa.int32(), pa.string()), pa.string_view()])
def test_one_long_text_cannot_stand_for_many(type_: Any) -> None:
    array = pa.array(["x" * 1000] * 100)
    array = array.dictionary_encode() if "dict" in str(type_) else array.cast(type_)
    table = pa.table({"n": pa.array([1.0] * 100), "c": array})
    if "view" in str(type_):  # pyarrow gives every view bytes of its own; Polars lets them share
        frame = pl.DataFrame({"n": [1.0] * 100, "c": pl.Series(["x" * 1000]).gather([0] * 100)})
        body = frame.write_ipc_stream(None).getvalue()
    else:
        target = io.BytesIO()
        with pa.ipc.new_stream(target, table.schema) as writer:
            writer.write_table(table)
        body = target.getvalue()
    assert len(body) < 20_000
    with pytest.raises(RequestError, match="100000 bytes of text") as caught:
        decode(body)
    assert caught.value.status == 413


def test_types_nested_without_end_are_refused_before_they_are_read() -> None:
    deep = pa.float64()
    for _ in range(60):
        deep = pa.list_(deep)
    with pytest.raises(RequestError, match="column 'n': list"):
        decode({"n": pa.nulls(1, deep)})


@pytest.mark.parametrize(
    ("place", "offset", "form", "value", "text"),
    [
        ("rows", 0, "<q", 3, "the lengths of its columns differ"),
        ("rows", 0, "<q", -1, "the lengths of its columns differ"),
        ("nodes", -4, "<I", 1, "the lengths of its columns differ"),
        ("nodes", 16, "<q", 3, "the lengths of its columns differ"),
        ("nodes", 8, "<q", 3, "the lengths of its columns differ"),
        ("nodes", 8, "<q", -1, "the lengths of its columns differ"),
        ("nodes", -4, "<I", 2**31, "its metadata point outside of it"),
        ("buffers", 24, "<q", 2**40, "its buffers lie outside of its data"),
        ("buffers", 16, "<q", -8, "its buffers lie outside of its data"),
        ("body", 0, "<q", -8, "are cut short"),
        ("body", 0, "<q", 2**40, "are cut short"),
    ],
)
def test_lengths_that_are_not_true_are_seen_before_anything_is_decoded(
    place: str, offset: int, form: str, value: int, text: str
) -> None:
    body = bytearray(stream({"n": pa.array([1.0, 2.0]), "m": pa.array([1, 2])}))
    found = arrow_stream.places(bytes(body))
    struct.pack_into(form, body, len(found.schema) + getattr(found, place) + offset, value)
    with pytest.raises(arrow_stream.Malformed, match=text):
        arrow_stream.outline(bytes(body))


def test_a_compressed_buffer_without_a_length_is_refused() -> None:
    body = bytearray(stream({"n": pa.array([1.0] * 7)}, compression="zstd"))
    found = arrow_stream.places(bytes(body))
    struct.pack_into("<q", body, len(found.schema) + len(found.batch), -2)
    with pytest.raises(RequestError, match="a compressed buffer has no length"):
        decode(bytes(body))


def test_columns_within_columns_are_refused_whatever_they_call_themselves() -> None:
    body = stream({"n": pa.array([[1.0]])})
    disguised = [body[:i] + b"\x02" + body[i + 1 :] for i, byte in enumerate(body) if byte == 12]
    assert any("column 'n': int" in refusal(one) for one in disguised)


def test_big_endian_numbers_are_refused() -> None:
    body = stream({"n": pa.array([1.0])})
    swapped = [body[:i] + b"\x04" + body[i + 1 :] for i in range(len(body) // 2)]  # one gives the field a place
    assert any("its numbers are big-endian" in refusal(one) for one in swapped)


def test_a_dictionary_cannot_be_longer_than_the_stream() -> None:
    body = stream({"n": pa.array([1.0] * 7), "c": pa.array(["a", "b", "c"] * 2 + ["a"]).dictionary_encode()})
    swollen = body.replace(struct.pack("<q", 3), struct.pack("<q", 2**40))
    assert swollen != body and "a dictionary has more entries than the stream has bytes" in refusal(swollen)


def test_rows_without_columns_lack_their_columns() -> None:
    target = io.BytesIO()
    with pa.ipc.new_stream(target, pa.schema([])) as writer:
        writer.write_batch(pa.RecordBatch.from_pydict({"n": [1.0] * 5}).select([]))
    assert "row 0, column 'n' (numeric) is missing" in refusal(target.getvalue())


def test_polars_must_see_as_many_rows_as_were_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    body = stream({"n": pa.array([1.0] * 5)})
    seen = dataclasses.replace(arrow_stream.outline(body), rows=3)
    monkeypatch.setattr(arrow, "outline", lambda body: seen)
    assert "5 rows instead of 3" in refusal(body)


def refusal(body: bytes) -> str:
    try:
        decode(body)
    except RequestError as error:
        return str(error)
    return ""


def mutated(seeds: list[bytes], cases: int, chance: Random) -> Iterator[bytes]:
    """Bytes overwritten, cut out, doubled, or replaced by extreme lengths."""
    extremes = [
        value.to_bytes(8, "little") for value in (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
    ]
    for _ in range(cases):
        body = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
            place = chance.randrange(len(body))
            turn = chance.random()
            if turn < 0.5:
                body[place] = chance.randrange(256)
            elif turn < 0.65:
                body[place] ^= 1 << chance.randrange(8)
            elif turn < 0.9:
                width = chance.choice((2, 4, 8))
                place -= place % width
                body[place : place + width] = chance.choice(extremes)[:width]
            elif turn < 0.95:
                del body[place : place + chance.choice((1, 8, 64))]
            else:
                body[place:place] = body[place : place + chance.choice((1, 8, 64))]
            if not body:
                break
        yield bytes(body)


def seeds() -> list[bytes]:
    columns = {
        "n": pa.array([1.0, 2.0, 3.0]),
        "c": pa.array(["a", None, "東 longer than twelve bytes"]),
        "b": pa.array([True, None, False]),
        "t": pa.array([0, 1, None], pa.timestamp("ms", "Europe/Rome")),
        "m": pa.array([1, None, 3]),
    }
    viewed = columns | {"c": columns["c"].cast(pa.string_view())}
    coded = columns | {"c": columns["c"].dictionary_encode()}
    plain = [stream(columns), stream(viewed), stream(coded)]
    return [*plain, stream(columns, compression="lz4"), stream(columns, compression="zstd")]


def survives(cases: int, seed: int) -> int:
    """How many of the mutated streams were taken; every other must have been refused."""
    taken = 0
    for body in mutated(seeds(), cases, random.Random(seed)):
        try:
            table = arrow.decode(body, READER, LIMITS)
        except RequestError as error:
            assert error.status in (400, 413, 422)
            continue
        taken += 1
        assert all(len(values) == table.count for values in table.raw.values())
    return taken


def test_corrupt_streams_are_refused_and_nothing_worse(capfd: pytest.CaptureFixture[str]) -> None:
    assert 0 < survives(2000, seed=7) < 1500
    capfd.readouterr()
