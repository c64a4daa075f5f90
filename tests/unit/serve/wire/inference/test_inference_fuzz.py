"""No bytes, however wrong, raise anything but a RequestError: seeded mutations of right requests."""

import json
import random
import struct
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

from tidemill.data.schema import Column
from tidemill.errors import RequestError
from tidemill.serve.door.inference import calls
from tidemill.serve.wire import compression
from tidemill.serve.wire.inference import responses
from tidemill.serve.wire.inference.messages import ModelInferRequest
from tidemill.serve.wire.inference.requests import Decoder
from tidemill.serve.wire.refusals import Limits
from tidemill.settings import Kind

COLUMNS = [Column(name=str(kind), kind=kind) for kind in Kind]
DECODER = Decoder(COLUMNS, ("value", "lower", "upper"), others=("k",), limits=Limits(rows=50, bytes=10_000))
DATA = {
    "numeric": ("FP64", struct.pack("<2d", 1, np.nan), [1.5, None]),
    "categorical": ("BYTES", b"\1\0\0\0a\2\0\0\0\xc3\xbc", ["a", "ü"]),
    "boolean": ("BOOL", b"\1\0", [True, False]),
    "timestamp": ("INT64", struct.pack("<2q", 1, -(2**63)), ["2013-06-30T14:05:00", 5]),
}
ODD = [None, True, -1, 0, 2**31, 2**64, 10**400, 1e308, "", "NaN", "\ud800", [], {}, [[[]]], "binary_data_size", "FP64"]


def bodies() -> list[Any]:
    plain = {"inputs": [{"name": n, "datatype": d, "shape": [2], "data": v} for n, (d, _, v) in DATA.items()]}
    plain["inputs"][3]["datatype"] = "BYTES"
    plain["inputs"][3]["data"] = ["2013-06-30", None]
    framed = {
        "id": "a",
        "parameters": {"timeout": 5, "binary_data_output": True},
        "inputs": [
            {"name": name, "datatype": datatype, "shape": [2, 1], "parameters": {"binary_data_size": len(data)}}
            for name, (datatype, data, _) in DATA.items()
        ],
        "outputs": [{"name": "value", "parameters": {"binary_data": True}}],
    }
    return [(plain, b""), (framed, b"".join(data for _, data, _ in DATA.values()))]


def changed(chance: Random, content: Any) -> Any:
    """The content with one value somewhere in it made odd, or left out."""
    if isinstance(content, dict) and content and chance.random() < 0.9:
        key = chance.choice(list(content))
        rest = {name: value for name, value in content.items() if name != key}
        return rest if chance.random() < 0.1 else {**rest, key: changed(chance, content[key])}
    if isinstance(content, list) and content and chance.random() < 0.9:
        at = chance.randrange(len(content))
        return [*content[:at], changed(chance, content[at]), *content[at + 1 :]]
    return chance.choice(ODD)


def mutated(chance: Random, data: bytes) -> bytes:
    data = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(4):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del data[at : at + chance.randint(1, 9)]
            case 2:
                data[at:at] = chance.randbytes(chance.randint(1, 9))
            case _:
                data[at : at + 4] = chance.choice([b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\x01\0\0\0"])
    return bytes(data)


def replaced(chance: Random, data: bytes) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]


def outcome(read: Callable[..., Any], *arguments: Any) -> bool:
    """Whether it was taken; anything else than a RequestError fails the test."""
    try:
        request = read(*arguments)
    except RequestError as error:
        assert 400 <= error.status < 500 and len(responses.error_body(error)) < 1000
        return False
    if hasattr(request, "raw"):
        request.id.encode()
        assert {values.shape for values in request.raw.values()} == {(request.rows,)}
        assert [values.dtype.kind for values in request.raw.values()] == ["f", "O", "f", "i"]
        "".join(request.raw["categorical"]).encode()
    return True


def test_wrong_values_anywhere_in_the_json() -> None:
    chance = random.Random(0)
    taken = 0
    for _ in range(3000):
        content, tail = chance.choice(bodies())
        head = json.dumps(changed(chance, content)).encode()
        taken += outcome(DECODER.http, head + tail, str(len(head)))
    assert 100 < taken < 2000  # both ways were gone


def test_wrong_bytes_anywhere_in_the_body() -> None:
    chance = random.Random(1)
    taken = 0
    for _ in range(3000):
        content, tail = chance.choice(bodies())
        head = json.dumps(content).encode()
        body, length = head + tail, str(len(head))
        body = head + mutated(chance, tail) if chance.random() < 0.5 and tail else mutated(chance, body)
        taken += outcome(DECODER.http, body, length if chance.random() < 0.9 else mutated(chance, length.encode()))
    assert 100 < taken < 2000


def test_wrong_bytes_in_messages() -> None:
    chance = random.Random(2)
    wire = []
    for raw in (False, True):
        made = ModelInferRequest(model_name="m")
        fields = ["fp64_contents", "bytes_contents", "bool_contents", "int64_contents"]
        values = [[1.0, 2.0], [b"a", b"b"], [True, False], [1, 2]]
        for (name, (datatype, data, _)), field, given in zip(DATA.items(), fields, values, strict=True):
            made.inputs.add(name=name, datatype=datatype, shape=[2], contents=None if raw else {field: given})
            if raw:
                made.raw_input_contents.append(data)
        wire.append(made.SerializeToString())
    taken = parsed = 0
    for _ in range(8000):
        try:
            data = chance.choice(wire)
            message = ModelInferRequest.FromString(replaced(chance, data) if parsed % 4 else mutated(chance, data))
        except Exception:  # not protobuf: gRPC itself refuses it
            continue
        parsed += 1
        if chance.random() < 0.5 and message.inputs:
            entry = chance.choice(message.inputs)
            match chance.randrange(4):
                case 0:
                    entry.shape[:] = [chance.choice([-(2**63), -1, 0, 1, 2, 2**62]) for _ in range(chance.randrange(3))]
                case 1:
                    entry.datatype = chance.choice(["FP16", "BF16", "BOOL", "UINT8", "INT64", "BYTES", "x"])
                case 2:
                    entry.contents.fp32_contents.append(float("nan"))
                case _:
                    del message.raw_input_contents[chance.randrange(4) :]
        taken += outcome(DECODER.message, message)
    assert parsed > 1000 and 50 < taken < parsed - 500


def test_wrong_calls_and_wrong_compression() -> None:
    chance = random.Random(3)
    paths = [b"/v2/models/m/versions/1/infer", b"/v2/repository/models/m/load", b"/v2/models/stats"]
    packed = compression.encoded(b"0123456789" * 300, "gzip")[0]
    for _ in range(1000):
        path = mutated(chance, chance.choice(paths)).decode("latin-1")
        outcome(calls.route, chance.choice(["GET", "POST"]), path, chance.randbytes(5))
        outcome(compression.decoded, mutated(chance, packed), chance.choice(["gzip", "deflate"]), 5000)
