"""Requests by the Open Inference Protocol that are refused, and what each is told."""

import json
import struct
from typing import Any

import numpy as np
import pytest
from inference_parts import COUNT, DECODER, binary, message, read, tensor, text

from tidemill.data.raw import MISSING_TIMESTAMP
from tidemill.data.schema import Column
from tidemill.errors import RequestError
from tidemill.serve.wire.inference.messages import ModelInferRequest
from tidemill.serve.wire.inference.requests import Decoder
from tidemill.settings import Kind

WRONG = [
    ([], 422, "A request holds at least one input. Got: an empty list of inputs"),
    ([COUNT, COUNT], 422, "Each input is sent once. Got: input 'count' again"),
    ([COUNT, tensor("citty", "BYTES", ["a", "b"])], 422, "unknown input 'citty'. Remedy: did you mean 'city'?"),
    ([tensor("size", "FP64", [1.0])], 422, "row 0, column 'count' (numeric) is missing, null or empty"),
    ([tensor("count", "FP64", [1.0, None])], 422, "row 1, column 'count' (numeric) is missing"),
    ([tensor("count", "FP64", [1.0, float("nan")])], 422, "row 1, column 'count' (numeric) is missing"),
    ([tensor("count", "BYTES", ["1", "one"])], 422, "A numeric column takes a number, or null. Got: row 1, column"),
    ([COUNT, tensor("at", "FP64", [1.0, 2.5])], 422, "A timestamp column takes an ISO 8601 time like"),
    ([tensor("key", "COMPLEX", [1])], 422, "A datatype is one of BOOL, INT8"),
    (
        [tensor("count", "FP64", [1.0], [1, 2])],
        422,
        "An input's shape is [N] or [N, 1], N rows. Got: input 'count': [1, 2]",
    ),
    (
        [tensor("count", "FP64", [1.0], [-1])],
        422,
        "An input's shape is [N] or [N, 1], N rows. Got: input 'count': [-1]",
    ),
    ([tensor("count", "FP64", [1.0], [1, 1, 1, 1, 1])], 422, "'count': [1, 1, 1, 1, …]"),
    ([COUNT, tensor("city", "BYTES", ["a"])], 422, "the same number of rows. Got: input 'count': 2, input 'city': 1"),
    (
        [tensor("count", "FP64", [1.0], [2])],
        422,
        "as many values as its shape says. Got: input 'count': 1 values, shape [2]",
    ),
    ([tensor("count", "FP64", [1.0] * 101)], 413, "A request holds at most 100 rows and 100000 bytes. Got: 101 rows"),
    ([tensor("count", "FP64", [], [10**30])], 413, "Got: more than 2^64 rows"),
    ([tensor("count", "FP64", [1.0, "2"])], 422, "The values are of the datatype FP64. Got: input 'count', row 1: '2'"),
    ([tensor("count", "FP64", [1.0, True])], 422, "of the datatype FP64. Got: input 'count', row 1: True"),
    ([tensor("count", "FP64", [[1.0], [1.0, 2.0]], [2, 1])], 422, "input 'count', row 0: list"),
    ([tensor("count", "FP64", [2**53 + 1])], 422, "9007199254740993, out of -9007199254740992"),
    ([tensor("count", "INT64", [2**53 + 1])], 422, "Whole numbers must lie within ±2^53"),
    ([tensor("count", "UINT64", [2**64 - 1])], 422, "Whole numbers must lie within ±2^53"),
    (
        [tensor("count", "INT8", [1, 128])],
        422,
        "input 'count', row 1: 128, out of -128 … 127. Remedy: use a wider datatype",
    ),
    ([tensor("count", "INT64", [10**4000])], 422, "input 'count', row 0: a number of more than 64 bits"),
    ([tensor("count", "INT32", [1.5])], 422, "The values are of the datatype INT32. Got: input 'count', row 0: 1.5"),
    (
        [tensor("count", "FP32", [1.0, 1e39])],
        422,
        "of the datatype FP32. Got: input 'count', row 1: 1e+39. Remedy: use FP64",
    ),
    ([COUNT, tensor("open", "FP64", [1.0, 0.5])], 422, "row 1, column 'open': 0.5"),
    ([COUNT, tensor("open", "INT64", [1, 2])], 422, "A boolean column takes true or false, or null. Got: row 1"),
    ([COUNT, tensor("at", "BYTES", ["soon", ""])], 422, "row 0, column 'at': \"soon\""),
    ([COUNT, tensor("street", "BYTES", ["a", "\ud800"])], 400, "JSON in UTF-8. Got: 'utf-8' codec can't encode"),
    ([COUNT, tensor("street", "BYTES", ["a", 3])], 422, "of the datatype BYTES. Got: input 'street', row 1: 3"),
    (
        [{"name": "count", "datatype": "FP64", "shape": [1]}],
        400,
        "Each input has its data in the request. Got: input 'count'",
    ),
    ([{"name": "count", "shape": [1]}], 400, "missing required field `datatype` - at `$.inputs[0]`"),
    ([{**COUNT, "shape": [1.5]}], 400, "Expected `int`"),
    ([{**COUNT, "parameters": {"binary_data_size": 8}}], 400, "'data' or 'binary_data_size'. Got: input 'count': both"),
]


@pytest.mark.parametrize(("inputs", "status", "expected"), WRONG, ids=range(len(WRONG)))
def test_wrong_inputs_are_named(inputs: list[Any], status: int, expected: str) -> None:
    with pytest.raises(RequestError) as raised:
        read(*inputs)
    assert raised.value.status == status and expected in str(raised.value)


@pytest.mark.parametrize(
    ("inputs", "status", "expected"),
    [
        ([("count", "FP64", b"\0" * 15)], 400, "2 elements of FP64 are 16 bytes. Got: input 'count': 15 bytes"),
        ([("count", "FP64", struct.pack("<2d", 1, np.nan))], 422, "row 1, column 'count' (numeric) is missing"),
        ([("count", "INT64", struct.pack("<2q", 1, -(2**53) - 1))], 422, "row 1, column 'count': -9007199254740993"),
        ([("open", "BOOL", b"\0\2")], 422, "of the datatype BOOL. Got: input 'open', row 1: the byte 2"),
        ([("city", "BYTES", text(b"a"))], 400, "input 'city', row 1: 0 bytes are left where 4 give the length"),
        ([("city", "BYTES", text(b"a", b"b") + b"cd")], 400, "input 'city', row 1: 2 bytes follow it"),
        (
            [("city", "BYTES", text(b"a") + b"\xff\xff\xff\xffb")],
            400,
            "the length is 4294967295 where 1 bytes are left",
        ),
        ([("city", "BYTES", text(b"a", b"\xff"))], 422, "input 'city', row 1: byte 0 is not UTF-8"),
    ],
)
def test_wrong_binary_data_are_named(inputs: list[Any], status: int, expected: str) -> None:
    with pytest.raises(RequestError) as raised:
        binary(*inputs)
    assert raised.value.status == status and expected in str(raised.value)
    made = message(*((name, datatype, None) for name, datatype, _ in inputs), raw=[data for _, _, data in inputs])
    with pytest.raises(RequestError) as raised:
        DECODER.message(made)
    assert raised.value.status == status and expected in str(raised.value)


def sized(
    size: Any, body: bytes = b"\0" * 16, length: bytes | str | None = None
) -> tuple[bytes | str, ...] | tuple[bytes, ...]:
    entry = {"name": "count", "datatype": "FP64", "shape": [2], "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [entry]}).encode()
    return head + body, str(len(head)) if length is None else length


@pytest.mark.parametrize(
    ("body", "length", "expected"),
    [
        (*sized(-1), "binary_data_size is a whole number of bytes that follow the JSON. Got: input 'count': -1"),
        (*sized(17), "input 'count': 17, where 16 bytes are left"),
        (*sized(10**25), "input 'count': 10000000000000000000000000, where 16 bytes"),
        (*sized("16"), "input 'count': '16'"),
        (*sized(True), "input 'count': True"),
        (*sized(16.0), "input 'count': 16.0"),
        (*sized(8), "Nothing follows the inputs' binary data. Got: 8 bytes more"),
        (*sized(16, length="99999"), "is the length of the JSON at the body's begin. Got: '99999'"),
        (*sized(16, length="-1"), "Got: '-1'"),
        (*sized(16, length="²"), "Got: '²'"),
        (*sized(16, length="9" * 99), "Got: '9999999999999999999999999999999999999999'; the body has"),
        (*sized(16, length=b"0"), "A request's body is JSON in UTF-8. Got: Expecting value"),
        (sized(16)[0], None, "A request's body is JSON in UTF-8"),
        (b'{"inputs": "\xff"}', None, "A request's body is JSON in UTF-8. Got: 'utf-8' codec"),
        (b"[" * 50_000, None, "nested at most 32 levels deep"),
        (b"[]", None, "A request is an object with 'inputs'"),
        (b'{"inputs":[],"parameters":{"a":{}}}', None, "A request is an object with 'inputs'"),
    ],
)
def test_wrong_frames_are_refused(body: bytes, length: bytes | str | None, expected: str) -> None:
    with pytest.raises(RequestError) as raised:
        DECODER.http(body, length)
    assert raised.value.status == 400 and expected in str(raised.value)


@pytest.mark.parametrize(
    ("more", "status", "expected"),
    [
        ({"outputs": [{"name": "lable"}]}, 422, "unknown output 'lable'. Remedy: did you mean 'label'?"),
        ({"outputs": [{"name": "label"}] * 2}, 422, "Each output is asked for once. Got: output 'label' again"),
        (
            {"outputs": [{"name": "label", "parameters": {"classification": 2}}]},
            422,
            "neither classified nor in shared memory. Got: output 'label'",
        ),
        ({"outputs": [{"name": "label", "parameters": {"shared_memory_region": "a"}}]}, 422, "in shared memory"),
    ],
)
def test_wrong_outputs_are_named(more: dict[str, Any], status: int, expected: str) -> None:
    with pytest.raises(RequestError) as raised:
        read(COUNT, **more)
    assert raised.value.status == status and expected in str(raised.value)


@pytest.mark.parametrize("timeout", [-1, "soon", 1.5, True, "9" * 30])
def test_a_timeout_is_whole_microseconds(timeout: Any) -> None:
    request = read(COUNT, parameters={"timeout": timeout})
    with pytest.raises(RequestError, match="'timeout' is a whole number of microseconds") as raised:
        _ = request.timeout
    assert raised.value.status == 400


def test_wrong_messages_are_refused() -> None:
    for made, status, expected in (
        (message(("count", "FP64", None), raw=[b"", b""]), 400, "one entry per input, or none. Got: 2 entries for 1"),
        (message(("count", "FP16", None)), 400, "Typed contents are of BOOL, INT8"),
        (message(("count", "FP64", None)), 400, "Each input has its data in the request. Got: input 'count' has none"),
        (
            message(("city", "BYTES", {"bytes_contents": [b"a", b"\xff"]})),
            422,
            "input 'city', row 1: byte 0 is not UTF-8",
        ),
        (message(("count", "INT8", {"int_contents": [1, 300]})), 422, "input 'count', row 1: 300, out of -128"),
        (ModelInferRequest(raw_input_contents=[b"x" * 100_001]), 413, "A request holds at most 100 rows"),
        (ModelInferRequest(), 422, "A request holds at least one input"),
    ):
        with pytest.raises(RequestError) as raised:
            DECODER.message(made)
        assert raised.value.status == status and expected in str(raised.value)


def test_a_body_beyond_the_limit_is_not_parsed() -> None:
    with pytest.raises(RequestError, match=r"at most 100 rows and 100000 bytes\. Got: 100001 bytes") as raised:
        DECODER.http(b"x" * 100_001)
    assert raised.value.status == 413


def test_texts_that_mark_a_missing_value_are_refused_where_none_may_be() -> None:
    decoder = Decoder(
        [Column(name="c", kind=Kind.CATEGORICAL, missing_marks=("?",), missing_allowed=False)], ("label",)
    )
    for value in ("?", ""):
        body = json.dumps({"inputs": [tensor("c", "BYTES", ["a", value])]}).encode()
        with pytest.raises(RequestError, match=r"row 1, column 'c' .categorical. is missing"):
            decoder.http(body)
    decoder = Decoder([Column(name="t", kind=Kind.TIMESTAMP, missing_allowed=False)], ("label",))
    body = json.dumps({"inputs": [tensor("t", "INT64", [1, MISSING_TIMESTAMP])]}).encode()
    with pytest.raises(RequestError, match=r"row 1, column 't' .timestamp. is missing"):
        decoder.http(body)
