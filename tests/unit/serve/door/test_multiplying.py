"""Small bodies that stand for much: each is refused by what it says of itself, before anything is made of it."""

import asyncio
import gzip
import io
import json
import threading
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from tidemill.data.schema import Column, Role, Schema
from tidemill.errors import RequestError
from tidemill.serve.door import body
from tidemill.serve.door.inference import servicer
from tidemill.serve.wire import arrow, arrow_stream, compression, depth, feedback, protocol
from tidemill.serve.wire.feedback import LabelRules
from tidemill.serve.wire.inference import framing, messages
from tidemill.serve.wire.inference.requests import Decoder
from tidemill.serve.wire.reader import Reader
from tidemill.serve.wire.refusals import Limits
from tidemill.settings import Kind

COLUMNS = tuple(Column(name=name, kind=Kind.CATEGORICAL) for name in ("c", "d"))
READER = Reader(Schema(columns=(*COLUMNS, Column(name="y", kind=Kind.CATEGORICAL, role=Role.TARGET))))
LIMITS = Limits()
RULES = LabelRules(classes=frozenset({"no", "yes"}))
DECODER = Decoder(COLUMNS, ("label",), limits=LIMITS)
ENTRY = "a" * 2**19
ROWS = 8192


def _stream(table: pa.Table, chunk: int | None = None, compression: str | None = None) -> bytes:
    target = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(target, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=chunk)
    return target.getvalue()


def _encoded(rows: int, *entries: str) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(entries))


def _views(rows: int, entry: str) -> pa.Array:
    """Texts that all lie in the same bytes."""
    _, views, content = pa.array([entry], pa.string_view()).buffers()
    shared = np.tile(np.frombuffer(views, np.uint8)[:16], rows).tobytes()
    return pa.Array.from_buffers(pa.string_view(), rows, [None, pa.py_buffer(shared), content])


def _refused(table: pa.Table | bytes, **options: Any) -> RequestError:
    sent = table if isinstance(table, bytes) else _stream(table, **options)
    assert len(sent) < 2_000_000
    with pytest.raises(RequestError) as refused:
        arrow.decode(sent, READER, LIMITS)
    return refused.value


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
@pytest.mark.parametrize("array", [_encoded, _views])
def test_texts_that_share_their_bytes_are_measured_together(array: Any, compression: str | None) -> None:
    """4 GiB, whose sum is 0 in 32 bits; and 9 GiB, which were refused as 410344408 bytes when they had been used."""
    error = _refused(pa.table({"c": array(ROWS, ENTRY)}), compression=compression)
    assert error.status == 413 and error.observed == f"{ROWS * len(ENTRY)} bytes of text"
    error = _refused(pa.table({"c": array(9000, ENTRY), "d": array(9000, ENTRY)}), compression=compression)
    assert error.observed == f"{2 * 9000 * len(ENTRY)} bytes of text"
    few = arrow.decode(_stream(pa.table({"c": array(30, ENTRY)}), compression=compression), READER, LIMITS)
    assert few.raw["c"].tolist() == [ENTRY] * 30


def test_many_short_entries_are_no_reason_to_refuse() -> None:
    texts = [f"entry {row % 500:04}" for row in range(10_000)]
    for table in (
        pl.DataFrame({"c": texts}).cast(pl.Categorical),
        pl.DataFrame({"c": [*texts[:-1], None]}),
    ):
        sent = io.BytesIO()
        table.write_ipc_stream(sent, compression="zstd")
        decoded = arrow.decode(sent.getvalue(), READER, LIMITS).raw["c"]
        assert [*decoded[:-1]] == texts[:-1]


def test_a_dictionary_counts_for_each_batch_and_column_that_reads_it() -> None:
    """200 kB of batches of one row, each of which has half a MiB looked through; and columns that name the same one."""
    error = _refused(pa.table({"c": _encoded(1000, ENTRY)}), chunk=1, compression="zstd")
    assert error.status == 413 and "bytes, decompressed" in error.observed
    assert int(error.observed.split()[0]) > 1000 * len(ENTRY)
    assert arrow_stream.outline(_stream(pa.table({"c": _encoded(9, "b" * 100)}), chunk=3)).size > 4 * 100


def test_a_stream_has_a_bounded_number_of_batches() -> None:
    error = _refused(pa.table({"c": ["x"] * 2000}), chunk=1)
    assert error.status == 400 and "more than 1024 batches" in error.observed
    assert arrow.decode(_stream(pa.table({"c": ["x"] * 1000}), chunk=1), READER, LIMITS).count == 1000


JSON = {
    "rows": b'{"rows": [' + b"{}," * 2_000_000 + b"{}]}",
    "lists": b'{"rows": [' + b"[]," * 2_000_000 + b"[]]}",
    "numbers": b'{"rows": [' + b"0," * 2_000_000 + b"0]}",
    "keys": b'{"rows": [], "keys": [' + b"0," * 2_000_000 + b"0]}",
    "escapes": b'{"rows": ["\\"\\\\",' + b"0," * 2_000_000 + b"0]}",
}


@pytest.mark.parametrize("name", JSON)
def test_values_of_json_are_counted_before_they_are_made(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """16 MiB of `{},` were read into five million objects before they were counted, and 16 kB of gzip gives so much."""
    monkeypatch.setattr(Reader, "request", _unreached)
    monkeypatch.setattr(depth, "parsed", _unreached)
    for decode in (
        lambda: protocol.decode(JSON[name], READER, LIMITS),
        lambda: feedback.decode(JSON[name], RULES, LIMITS, 0),
        lambda: DECODER.http(JSON[name]),
    ):
        with pytest.raises(RequestError, match=r"more than \d+ values|at most \d+ values") as refused:
            decode()
        assert refused.value.status == 413


def _unreached(*_: Any) -> Any:
    raise AssertionError("it was read")


def test_signs_in_texts_are_no_values() -> None:
    texts = ['{,[,"\\' * 200, ",,,,", "\\"] * 4000
    sent = json.dumps({"rows": [{"c": text} for text in texts[:10_000]]}).encode()
    assert sum(map(sent.count, (b",", b"{", b"["))) > 10_000 * 6 and len(sent) > 2**20
    assert protocol.decode(sent, READER, LIMITS)[0].count == 10_000
    assert not depth.too_many(sent, 30_000) and depth.too_many(sent, 10_000)


def test_as_many_rows_as_may_be_are_not_too_many_values() -> None:
    row = {"c": "x", "d": "y"}
    sent = json.dumps({"rows": [row] * LIMITS.rows, "keys": ["k"] * LIMITS.rows, "version": "1"}).encode()
    assert protocol.decode(sent, READER, LIMITS)[0].count == LIMITS.rows
    nested = {"datatype": "BYTES", "shape": [LIMITS.rows, 1], "data": [["x"]] * LIMITS.rows}
    inputs = [{"name": name, "parameters": {"a": 1, "b": 2}, **nested} for name in ("c", "d")]
    assert DECODER.http(json.dumps({"inputs": inputs, "outputs": [{"name": "label"}]}).encode()).rows == LIMITS.rows


def test_a_message_is_not_read_into_more_objects_than_it_can_need() -> None:
    """An input without content takes two bytes, and a hundred once it is read; nobody's key has been seen by then."""
    read = servicer._reading(messages.ModelInferRequest)
    for field in (b"\x2a\x00", b"\x3a\x00", b"\x32\x00", b"\x0a\x00"):
        with pytest.raises(RequestError, match="more than 16384 fields") as refused:
            servicer._whole(read(field * 1_000_000))
        assert refused.value.status == 400
    made = messages.ModelInferRequest(model_name="m", raw_input_contents=[b"x" * 10_000] * 100)
    for _ in range(100):
        made.inputs.add(name="c", datatype="BYTES", shape=[1])
    assert read(made.SerializeToString()) == made
    for junk in (b"\xff" * 100_000, b"\x0b" * 100_000, b"\x2a\xff\xff\xff\xff\x0f" * 20_000):
        assert servicer._fields(junk, 10**9) <= len(junk)  # it ends


def test_values_of_a_message_are_counted_before_they_are_made() -> None:
    made = messages.ModelInferRequest(model_name="m")
    entry = made.inputs.add(name="c", datatype="INT64", shape=[2])
    entry.contents.int64_contents.extend([0] * (LIMITS.rows + 1))
    with pytest.raises(RequestError, match="at most 10000 values") as refused:
        framing.typed_contents(entry, LIMITS.rows)
    assert refused.value.status == 413


def test_what_is_decompressed_for_long_is_so_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []

    def decoded(sent: bytes, encoding: str, limit: int, was: Any = compression.decoded) -> bytes:
        threads.append(threading.current_thread().name)
        return was(sent, encoding, limit)  # type: ignore[no-any-return]

    monkeypatch.setattr(compression, "decoded", decoded)

    async def main() -> None:
        for content in (b" " * 10_000_000, b"{}"):
            sent = gzip.compress(content)

            async def receive(sent: bytes = sent) -> Any:
                return {"type": "http.request", "body": sent, "more_body": False}

            headers = {b"content-encoding": b"gzip", b"content-length": str(len(sent)).encode()}
            assert await body.read(headers, receive, LIMITS, None, predicts=False) == content  # type: ignore[arg-type]

    asyncio.run(main())
    assert threads[0] != threading.main_thread().name and threads[1] == threading.main_thread().name
