"""Requests as the specification writes them, down to the bytes, and what is said of wrong ones."""

import json
import struct

import numpy as np
import pytest
from inference_parts import COLUMNS, COUNT, DECODER, binary, message, read, tensor, text

from tidemill.data.raw import MISSING_TIMESTAMP
from tidemill.serve.wire.inference.requests import Wanted


def same(given: np.ndarray, wanted: list[float] | list[int]) -> bool:
    return given.dtype == np.asarray(wanted).dtype and np.array_equal(given, wanted, equal_nan=given.dtype.kind == "f")


def test_json_gives_raw_columns_and_left_out_ones_are_missing() -> None:
    request = read(
        COUNT,
        tensor("city", "BYTES", [["Zürich"], ["?"]], [2, 1]),
        tensor("open", "BOOL", [True, None]),
        tensor("at", "BYTES", ["1970-01-01T00:00:01Z", None]),
        tensor("key", "BYTES", ["a", "b"]),
        id="r1",
        parameters={"timeout": 5_000, "version": "2"},
    )
    assert request.rows == 2 and request.id == "r1"
    assert list(request.raw) == [column.name for column in COLUMNS] and request.others == {"key": ["a", "b"]}
    assert same(request.raw["size"], [np.nan, np.nan]) and same(request.raw["count"], [1.0, 2.0])
    assert request.raw["city"].tolist() == ["Zürich", ""] and request.raw["street"].tolist() == ["", ""]
    assert same(request.raw["open"], [1.0, np.nan]) and same(request.raw["at"], [1_000_000, MISSING_TIMESTAMP])
    assert request.timeout == 0.005 and request.parameters["version"] == "2"
    assert request.outputs == (Wanted("probabilities", False), Wanted("label", False))


@pytest.mark.parametrize("datatype", ["FP64", "FP32", "FP16", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT64"])
def test_numbers_come_in_any_datatype_and_any_way(datatype: str) -> None:
    dtype = {"F": "<f", "I": "<i", "U": "<u"}[datatype[0]] + str(int(datatype.lstrip("FPINTU")) // 8)
    raw = np.array([3, 7], dtype).tobytes()
    for request in (binary(("count", datatype, raw)), read(tensor("count", datatype, [3, 7]))):
        assert same(request.raw["count"], [3.0, 7.0])


def test_binary_data_are_what_the_specification_says() -> None:
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


def test_json_and_binary_inputs_may_stand_side_by_side() -> None:
    flags = {"name": "open", "datatype": "BOOL", "shape": [2], "parameters": {"binary_data_size": 2}}
    head = json.dumps({"inputs": [COUNT, flags, tensor("street", "BYTES", ["a", "b"])]}).encode()
    request = DECODER.http(head + b"\0\1", str(len(head)).encode())
    assert same(request.raw["open"], [0.0, 1.0]) and request.raw["street"].tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("datatype", "data"), [("FP64", [1.0, float("nan")]), ("INT32", [1, None]), ("FP32", [1, None])]
)
def test_truth_values_come_as_numbers_too(datatype: str, data: list[float] | list[int | None]) -> None:
    assert same(read(COUNT, tensor("open", datatype, data)).raw["open"], [1.0, np.nan])


def test_nan_in_json_is_what_tritonclient_sends() -> None:
    request = DECODER.http(
        b'{"inputs":[{"name":"count","datatype":"FP64","shape":[2],"data":[1.0,-Infinity]},'
        b'{"name":"size","datatype":"FP64","shape":[2],"data":[NaN,Infinity]}]}'
    )
    assert same(request.raw["size"], [np.nan, np.inf]) and same(request.raw["count"], [1.0, -np.inf])


def test_fp32_is_rounded_in_json_as_it_is_in_binary() -> None:
    wanted = [float(np.float32(0.1)), 16777216.0]
    assert same(read(tensor("count", "FP32", [0.1, 16777217])).raw["count"], wanted)
    assert same(binary(("count", "FP32", struct.pack("<2f", 0.1, 16777217))).raw["count"], wanted)


def test_no_rows_are_a_request_too() -> None:
    request = binary(("count", "FP64", b""), ("city", "BYTES", b""), rows=0)
    assert request.rows == 0 and {values.shape for values in request.raw.values()} == {(0,)}
    assert read(tensor("count", "FP64", [], [0])).raw["count"].shape == (0,)


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
def test_grpc_contents_are_typed(datatype: str, field: str) -> None:
    assert same(DECODER.message(message(("count", datatype, {field: [3, 7]}))).raw["count"], [3.0, 7.0])


def test_grpc_contents_hold_text_truth_and_time() -> None:
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


def test_grpc_contents_may_be_raw() -> None:
    raw = [struct.pack("<2d", 1, 2), text(b"a", b"b")]
    request = DECODER.message(message(("count", "FP64", None), ("city", "BYTES", None), raw=raw))
    assert same(request.raw["count"], [1.0, 2.0]) and request.raw["city"].tolist() == ["a", "b"]


@pytest.mark.parametrize("timeout", [0, "0"])
def test_no_timeout_is_none(timeout: int | str) -> None:
    assert read(COUNT, parameters={"timeout": timeout}).timeout is None and read(COUNT).timeout is None
