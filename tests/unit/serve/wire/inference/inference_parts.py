"""Requests by the Open Inference Protocol, in JSON, binary and gRPC."""

import json
import struct
from typing import Any

from tidemill.data.schema import Column
from tidemill.serve.wire.inference.messages import ModelInferRequest
from tidemill.serve.wire.inference.requests import Decoder, InferRequest
from tidemill.serve.wire.protocol import Limits
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


def tensor(name: str, datatype: str, data: list[Any], shape: list[int] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data, **more}


COUNT = tensor("count", "FP64", [1.0, 2.0])


def read(*inputs: Any, **more: Any) -> InferRequest:
    return DECODER.http(json.dumps({"inputs": list(inputs), **more}).encode())


def text(*values: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def binary(*inputs: Any, rows: int = 2, **more: Any) -> InferRequest:
    """inputs: name, datatype, bytes."""
    head = [
        {"name": name, "datatype": datatype, "shape": [rows], "parameters": {"binary_data_size": len(data)}}
        for name, datatype, data in inputs
    ]
    body = json.dumps({"inputs": head, **more}).encode()
    return DECODER.http(body + b"".join(data for _, _, data in inputs), str(len(body)))


def message(*inputs: Any, raw: list[bytes] | tuple[Any, ...] = (), shape: tuple[int, ...] = (2,)) -> ModelInferRequest:
    made = ModelInferRequest(model_name="m", id="r9", raw_input_contents=raw)
    for name, datatype, contents in inputs:
        made.inputs.add(name=name, datatype=datatype, shape=shape, contents=contents)
    return made
