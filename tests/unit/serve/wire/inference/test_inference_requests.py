"""Requests as the specification writes them, down to the bytes, and what is said of wrong ones."""

import json
import struct

import numpy as np
import pytest

from tidemill.data.raw import MISSING_TIMESTAMP
from tidemill.data.schema import Column
from tidemill.errors import RequestError
from tidemill.serve.wire.inference.messages import ModelInferRequest
from tidemill.serve.wire.inference.requests import Decoder, Wanted
from tidemill.serve.wire.refusals import Limits
from tidemill.settings import Kind

COLUMNS = [
    Column(name="size", kind=Kind.NUMERIC),
    Column(name="count", kind=Kind.NUMERIC, missing_allowed=False),
    Column(name="city", kind=Kind.CATEGORICAL, missing_marks=("?",)),
    Column(name="street", kind=Kind.CATEGORICAL),
    Column(name="open", kind=Kind.BOOLEAN),
    Column(name="at", kind=Kind.TIMESTAMP),
]
DECODER = Decoder(COLUMNS, ("probabilities", "label"), others=("key",), limits=Limits(rows=100, bytes=100_000))


def tensor(name, datatype, data, shape=None, **more):
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data, **more}


COUNT = tensor("count", "FP64", [1.0, 2.0])


def read(*inputs, **more):
    return DECODER.http(json.dumps({"inputs": list(inputs), **more}).encode())


def text(*values: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def binary(*inputs, rows=2, **more):
    """inputs: name, datatype, bytes."""
    head = [
        {"name": name, "datatype": datatype, "shape": [rows], "parameters": {"binary_data_size": len(data)}}
        for name, datatype, data in inputs
    ]
    body = json.dumps({"inputs": head, **more}).encode()
    return DECODER.http(body + b"".join(data for _, _, data in inputs), str(len(body)))


def same(given, wanted):
    return given.dtype == np.asarray(wanted).dtype and np.array_equal(given, wanted, equal_nan=given.dtype.kind == "f")


def test_json_gives_raw_columns_and_left_out_ones_are_missing():
    request = read(
        COUNT,
        tensor("city", "BYTES", [["Zürich"], ["?"]], [2, 1]),
        tensor("open", "BOOL", [True, None]),
        tensor("at", "BYTES", ["1970-01-01T00:00:01Z", None]),
        tensor("key", "BYTES", ["a", "b"]),
        id="r1",
        parameters={"timeout": 5_000, "version": "2"},
    )
    assert request.rows == 2 and request.id == "r1" and request.given == ("count", "city", "open", "at", "key")
    assert list(request.raw) == [column.name for column in COLUMNS] and request.others == {"key": ["a", "b"]}
    assert same(request.raw["size"], [np.nan, np.nan]) and same(request.raw["count"], [1.0, 2.0])
    assert request.raw["city"].tolist() == ["Zürich", ""] and request.raw["street"].tolist() == ["", ""]
    assert same(request.raw["open"], [1.0, np.nan]) and same(request.raw["at"], [1_000_000, MISSING_TIMESTAMP])
    assert request.timeout == 0.005 and request.parameters["version"] == "2"
    assert request.outputs == (Wanted("probabilities", False), Wanted("label", False))


@pytest.mark.parametrize("datatype", ["FP64", "FP32", "FP16", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT64"])
def test_numbers_come_in_any_datatype_and_any_way(datatype):
    dtype = {"F": "<f", "I": "<i", "U": "<u"}[datatype[0]] + str(int(datatype.lstrip("FPINTU")) // 8)
    raw = np.array([3, 7], dtype).tobytes()
    for request in (binary(("count", datatype, raw)), read(tensor("count", datatype, [3, 7]))):
        assert same(request.raw["count"], [3.0, 7.0])


def test_binary_data_are_what_the_specification_says():
    request = binary(
        ("count", "FP64", struct.pack("<2d", 0.5, -1.5)),
        ("city", "BYTES", b"\x07\0\0\0Z\xc3\xbcrich\0\0\0\0"),
        ("open", "BOOL", b"\x01\x00"),
        ("at", "INT64", struct.pack("<2q", 7, MISSING_TIMESTAMP)),
        ("size", "FP32", struct.pack("<2f", np.nan, 1e10)),
        parameters={"binary_data_output": True},
        outputs=[{"name": "label", "parameters": {"binary_data": False}}, {"name": "probabilities"}],
    )
    assert same(request.raw["count"], [0.5, -1.5]) and request.raw["city"].tolist() == ["Zürich", ""]
    assert same(request.raw["open"], [1.0, 0.0]) and same(request.raw["at"], [7, MISSING_TIMESTAMP])
    assert same(request.raw["size"], [np.nan, float(np.float32(1e10))])
    assert request.outputs == (Wanted("label", False), Wanted("probabilities", True))
    assert all(values.flags.aligned for values in request.raw.values())


def test_json_and_binary_inputs_may_stand_side_by_side():
    flags = {"name": "open", "datatype": "BOOL", "shape": [2], "parameters": {"binary_data_size": 2}}
    head = json.dumps({"inputs": [COUNT, flags, tensor("street", "BYTES", ["a", "b"])]}).encode()
    request = DECODER.http(head + b"\0\1", str(len(head)).encode())
    assert same(request.raw["open"], [0.0, 1.0]) and request.raw["street"].tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("datatype", "data"), [("FP64", [1.0, float("nan")]), ("INT32", [1, None]), ("FP32", [1, None])]
)
def test_truth_values_come_as_numbers_too(datatype, data):
    assert same(read(COUNT, tensor("open", datatype, data)).raw["open"], [1.0, np.nan])


def test_nan_in_json_is_what_tritonclient_sends():
    request = DECODER.http(
        b'{"inputs":[{"name":"count","datatype":"FP64","shape":[2],"data":[1.0,-Infinity]},'
        b'{"name":"size","datatype":"FP64","shape":[2],"data":[NaN,Infinity]}]}'
    )
    assert same(request.raw["size"], [np.nan, np.inf]) and same(request.raw["count"], [1.0, -np.inf])


def test_fp32_is_rounded_in_json_as_it_is_in_binary():
    wanted = [float(np.float32(0.1)), 16777216.0]
    assert same(read(tensor("count", "FP32", [0.1, 16777217])).raw["count"], wanted)
    assert same(binary(("count", "FP32", struct.pack("<2f", 0.1, 16777217))).raw["count"], wanted)


def test_no_rows_are_a_request_too():
    request = binary(("count", "FP64", b""), ("city", "BYTES", b""), rows=0)
    assert request.rows == 0 and {values.shape for values in request.raw.values()} == {(0,)}
    assert read(tensor("count", "FP64", [], [0])).raw["count"].shape == (0,)


def message(*inputs, raw=(), shape=(2,)):
    made = ModelInferRequest(model_name="m", id="r9", raw_input_contents=raw)
    for name, datatype, contents in inputs:
        made.inputs.add(name=name, datatype=datatype, shape=shape, contents=contents)
    return made


@pytest.mark.parametrize(
    ("datatype", "field"),
    [
        ("FP64", "fp64_contents"),
        ("FP32", "fp32_contents"),
        ("INT64", "int64_contents"),
        ("INT8", "int_contents"),
        ("UINT64", "uint64_contents"),
        ("UINT16", "uint_contents"),
    ],
)
def test_grpc_contents_are_typed(datatype, field):
    assert same(DECODER.message(message(("count", datatype, {field: [3, 7]}))).raw["count"], [3.0, 7.0])


def test_grpc_contents_hold_text_truth_and_time():
    made = message(
        ("count", "FP64", {"fp64_contents": [1, 2]}),
        ("city", "BYTES", {"bytes_contents": ["東京".encode(), b""]}),
        ("open", "BOOL", {"bool_contents": [True, False]}),
        ("at", "INT64", {"int64_contents": [5, MISSING_TIMESTAMP]}),
    )
    made.parameters["timeout"].int64_param = 2_000_000
    made.parameters["unset"].SetInParent()
    made.outputs.add(name="label")
    request = DECODER.message(made)
    assert request.raw["city"].tolist() == ["東京", ""] and same(request.raw["open"], [1.0, 0.0])
    assert same(request.raw["at"], [5, MISSING_TIMESTAMP]) and request.id == "r9" and request.timeout == 2.0
    assert request.outputs == (Wanted("label", False),) and request.parameters == {"timeout": 2_000_000}


def test_grpc_contents_may_be_raw():
    raw = [struct.pack("<2d", 1, 2), text(b"a", b"b")]
    request = DECODER.message(message(("count", "FP64", None), ("city", "BYTES", None), raw=raw))
    assert same(request.raw["count"], [1.0, 2.0]) and request.raw["city"].tolist() == ["a", "b"]


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
def test_wrong_inputs_are_named(inputs, status, expected):
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
def test_wrong_binary_data_are_named(inputs, status, expected):
    with pytest.raises(RequestError) as raised:
        binary(*inputs)
    assert raised.value.status == status and expected in str(raised.value)
    made = message(*((name, datatype, None) for name, datatype, _ in inputs), raw=[data for _, _, data in inputs])
    with pytest.raises(RequestError) as raised:
        DECODER.message(made)
    assert raised.value.status == status and expected in str(raised.value)


def sized(size, body=b"\0" * 16, length=None):
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
def test_wrong_frames_are_refused(body, length, expected):
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
def test_wrong_outputs_are_named(more, status, expected):
    with pytest.raises(RequestError) as raised:
        read(COUNT, **more)
    assert raised.value.status == status and expected in str(raised.value)


@pytest.mark.parametrize("timeout", [-1, "soon", 1.5, True, "9" * 30])
def test_a_timeout_is_whole_microseconds(timeout):
    request = read(COUNT, parameters={"timeout": timeout})
    with pytest.raises(RequestError, match="'timeout' is a whole number of microseconds") as raised:
        _ = request.timeout
    assert raised.value.status == 400


@pytest.mark.parametrize("timeout", [0, "0"])
def test_no_timeout_is_none(timeout):
    assert read(COUNT, parameters={"timeout": timeout}).timeout is None and read(COUNT).timeout is None


def test_wrong_messages_are_refused():
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


def test_a_body_beyond_the_limit_is_not_parsed():
    with pytest.raises(RequestError, match=r"at most 100 rows and 100000 bytes\. Got: 100001 bytes") as raised:
        DECODER.http(b"x" * 100_001)
    assert raised.value.status == 413


def test_texts_that_mark_a_missing_value_are_refused_where_none_may_be():
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
