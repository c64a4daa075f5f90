"""Requests that are almost right, from a seed: bodies changed as JSON and as bytes, headers and paths that lie."""

import copy
import gzip
import io
import json
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl
from parts.load import request
from parts.small_model import NAME, Rows, tensors_body

ARROW = "application/vnd.apache.arrow.stream"
INFER = f"/v2/models/{NAME}/infer"
LENGTH = "Inference-Header-Content-Length"
_DEEP: Any = []
for _ in range(200):
    _DEEP = [_DEEP]
STRANGE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**400, 0.1, -0.0, 1e308, 5e-324),
    *("", "\0", "1", "nan", "é", "\u2028", "\U0001f600", "a" * 5000, "no", "2013-01-01T00:00:00Z", "../../etc/passwd"),
    *("${jndi:x}", "a\r\nX: y", [], {}, [[]], [None], {"": ""}, {"rows": []}, [1, "a", None, {}], _DEEP),
)
"""In place of any value of a request's JSON."""
TOKENS = (
    *(b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-0", b"1E400", b"0x10", b"01", b".5", b"+1", b"1_000", b"null"),
    *(b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\u0000"', b'"\\x"', b"'", b"\xff\xfe", b"\xed\xa0\x80", b"\xef\xbb\xbf"),
    *(
        b"[" * 40,
        b"{" * 40,
        b'{"a":' * 300,
        b"]",
        b"}",
        b",",
        b":",
        b'"',
        b"\\",
        b"/* */",
        b"\0",
        b"9" * 4400,
        b" " * 70,
    ),
    *(struct.pack("<q", value) for value in (-1, 0, 2**31, 2**62, -(2**63))),
    *(struct.pack("<i", value) for value in (-1, 2**31 - 1, 65536)),
)
"""Into any place of a body's bytes: JSON's edges, text that is not UTF-8, lengths that are not so."""
_TIMEOUTS = ("nan", "inf", "-1", "0", "1e-9", "1e308", "5e-324", "1_0", " 3", "３", "0x1", "", "1e", "99999", "3")
_HEADERS: dict[str, tuple[str, ...]] = {
    "X_Request_Timeout_Seconds": _TIMEOUTS,
    "Content_Type": ("", "text/plain", "application/json;charset=latin-1", "APPLICATION/JSON", ARROW, "é", ARROW + "x"),
    "Content_Encoding": ("gzip", "deflate", "br", "gzip, gzip", "identity", "", "x-gzip", "GZIP"),
    "Accept_Encoding": ("gzip", "gzip;q=nan", "*;q=1", "deflate;q=1e999", ",,,;;;q=", "gzip;q=-1", "é", "br"),
    "Inference_Header_Content_Length": ("0", "-1", "1", "99999999", "1e3", "", " 5", "٣", "9" * 5000, "10"),
    "Accept": ("", "text/html", ARROW, "*/*;q=nan"),
    "Authorization": ("", "Bearer", "Bearer ", "Basic eA==", "bearer tm_x_y", "Bearer é", "tm__"),
}
_PATHS = (
    *("//predict", "/predict/", "/./predict", "/v2/../predict", "/%2e%2e/predict", "/predict%00", "/predict?x=1&x"),
    *("/predict;x", "/PREDICT", "/%70redict", "/predict%0d%0aX:y", "/v2/models/%2e%2e/infer", "/v2//models", "/v2/"),
    *(
        "/v2/models/../..",
        "/v2/models/small/../../..",
        f"{INFER}/",
        f"{INFER}%2f",
        "/v2/models/é/infer",
        "/v2/models//infer",
    ),
    *("/v2/models/small/versions/99999999999999999999/infer", "/v2/models/small/versions//infer", "/v2/models/infer"),
    *("/v2/models/small%2fversions%2f1/infer", "/v2/repository/models//load", "/v2/repository/models/x%0a/load"),
    *(
        "/v2/repository/models/..%2f..%2fetc/load",
        "/metrics/",
        "/-/../predict",
        "/docs",
        "/" + "a" * 3000,
        "/é",
        "/%ff",
    ),
)
_METHODS = ("GET", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PREDICT", "post")


@dataclass(frozen=True)
class Seeds:
    """Right requests that mutations begin with. ids: of answers given, for labels."""

    rows: Rows
    ids: list[str]

    def json(self, chance: random.Random) -> tuple[str, Any]:
        """A path, and the content of a body for it."""
        rows = copy.deepcopy(chance.sample(self.rows, chance.choice((1, 1, 2, 5))))
        choice = chance.randrange(3)
        if choice == 0:
            more = {"version": chance.choice(("1", 1, None)), "keys": [f"k{at}" for at in range(len(rows))]}
            return "/predict", {"rows": rows} | (more if chance.random() < 0.5 else {})
        if choice == 1:
            labels = [{"id": chance.choice(self.ids), "label": chance.choice(("no", "yes"))} for _ in rows]
            if chance.random() < 0.5:
                labels[0]["at"] = "2024-02-29T12:00:00+01:00"
            return "/feedback", {"labels": labels}
        content = json.loads(tensors_body(rows, two_dimensions=chance.random() < 0.5))
        options = {"id": "r", "outputs": [{"name": "label"}], "parameters": {"timeout": 10**7, "key": "k"}}
        return INFER, content | (options if chance.random() < 0.5 else {})


def requests(seeds: Seeds, seed: int, count: int, **headers: str) -> Iterator[bytes]:
    """Whole requests with right lengths, as `load.run` sends them. headers: on each, the key."""
    chance = random.Random(seed)
    kinds: tuple[Callable[[Seeds, random.Random], tuple[str, bytes, dict[str, str]]], ...] = (
        *(_content, _bytes, _binary, _arrow, _compressed),
        _lies,
    )
    for _ in range(count):
        path, body, more = chance.choice(kinds)(seeds, chance)
        method = chance.choice(_METHODS) if chance.random() < 0.01 else "POST"
        yield request(path, body, method=method, **{"content": "application/json", **headers, **more})


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, cut, doubled, or put in between."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        at, end = sorted((chance.randint(0, len(changed)), chance.randint(0, len(changed))))
        end = min(end, at + chance.choice((1, 4, 64, 4096)))
        match chance.randrange(6):
            case 0:
                changed[at:at] = chance.choice(TOKENS)
            case 1:
                changed[at:end] = chance.choice(TOKENS)
            case 2:
                del changed[at:end]
            case 3:
                changed[at:at] = changed[at:end]
            case 4 if at < len(changed):
                changed[at] ^= 1 << chance.randrange(8)
            case _:
                del changed[chance.randint(0, len(changed)) :]
    return bytes(changed)


def binary(rows: Rows) -> tuple[bytes, int]:
    """Rows as binary tensors, and the length of the JSON before them."""
    inputs, parts = [], []
    for name, value in rows[0].items():
        values = [row[name] for row in rows]
        if isinstance(value, float):
            part = struct.pack(f"<{len(values)}d", *values)
        else:
            part = b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in values)
        kind = "FP64" if isinstance(value, float) else "BYTES"
        size = {"binary_data_size": len(part)}
        inputs.append({"name": name, "datatype": kind, "shape": [len(rows)], "parameters": size})
        parts.append(part)
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    return b"".join((head, *parts)), len(head)


def message(rows: Rows) -> bytes:
    """Rows as a ModelInferRequest."""
    from tidemill.serve.wire.inference.messages import ModelInferRequest

    made = ModelInferRequest(model_name=NAME, id="r")
    for name, value in rows[0].items():
        entry = made.inputs.add(name=name, datatype="FP64" if isinstance(value, float) else "BYTES", shape=[len(rows)])
        if isinstance(value, float):
            entry.contents.fp64_contents.extend(row[name] for row in rows)
        else:
            entry.contents.bytes_contents.extend(row[name].encode() for row in rows)
    content: bytes = made.SerializeToString()
    return content


def _content(seeds: Seeds, chance: random.Random) -> tuple[str, bytes, dict[str, str]]:
    """JSON with wrong values, keys gone, doubled or renamed."""
    path, content = seeds.json(chance)
    holder: dict[str, Any] = {"": content}
    for _ in range(chance.choice((1, 1, 2, 4))):
        node, key = chance.choice(list(_places(holder)))
        match chance.randrange(4):
            case 0 if isinstance(node, dict) and key:
                del node[key]
            case 1 if isinstance(node, dict) and key:
                node[chance.choice((key + "_", "", "rows", "\ud800", "\0"))] = node[key]
            case 2 if isinstance(node, list):
                node *= chance.choice((0, 2, 300))
            case _:
                node[key] = copy.deepcopy(chance.choice(STRANGE))
    return path, json.dumps(holder[""], ensure_ascii=True).encode(), {}


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a value: what holds it, and its key there."""
    for key, child in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if child and isinstance(child, dict | list) and child is not _DEEP:
            yield from _places(child)


def _bytes(seeds: Seeds, chance: random.Random) -> tuple[str, bytes, dict[str, str]]:
    path, content = seeds.json(chance)
    return path, mutated(json.dumps(content).encode(), chance), {}


def _binary(seeds: Seeds, chance: random.Random) -> tuple[str, bytes, dict[str, str]]:
    body, length = binary(chance.sample(seeds.rows, chance.choice((1, 3))))
    if chance.random() < 0.8:
        body = mutated(body, chance)
    wrong = (length + chance.choice((-1, 1, 4)), len(body), len(body) + 1, 0, chance.randint(0, len(body)), -1)
    given = length if chance.random() < 0.6 else chance.choice(wrong)
    return INFER, body, {LENGTH: str(given), "content": "application/octet-stream"}


def _arrow(seeds: Seeds, chance: random.Random) -> tuple[str, bytes, dict[str, str]]:
    frame = pl.DataFrame(chance.sample(seeds.rows, chance.choice((1, 3, 20))))
    if chance.random() < 0.3:
        frame = frame.with_columns(pl.col("text_0").cast(pl.Categorical))
    stream = io.BytesIO()
    level = chance.choice((pl.CompatLevel.oldest(), pl.CompatLevel.newest()))
    frame.write_ipc_stream(stream, compression=chance.choice(("uncompressed", "lz4", "zstd")), compat_level=level)
    return "/predict", mutated(stream.getvalue(), chance), {"content": ARROW, "Accept": ARROW}


def _compressed(seeds: Seeds, chance: random.Random) -> tuple[str, bytes, dict[str, str]]:
    path, content = seeds.json(chance)
    body = json.dumps(content).encode()
    name = chance.choice(("gzip", "deflate", "raw"))
    bomb = chance.random() < 0.02
    if bomb:
        body = b'{"rows": [' + b" " * (40 * 2**20)
    match name:
        case "gzip":
            body = gzip.compress(body, 1) * chance.choice((1, 1, 2))
        case "deflate":
            body = zlib.compress(body)
        case _:
            body, name = zlib.compress(body, wbits=-15), "deflate"
    if not bomb and chance.random() < 0.7:
        body = mutated(body, chance)
    return path, body, {"Content_Encoding": chance.choice((name, name, name, "gzip", "br"))}


def _lies(seeds: Seeds, chance: random.Random) -> tuple[str, bytes, dict[str, str]]:
    """A right body under headers or a path that do not fit it."""
    path, content = seeds.json(chance)
    body = json.dumps(content).encode()
    if chance.random() < 0.4:
        return chance.choice(_PATHS), body, {}
    names = chance.sample(sorted(_HEADERS), chance.choice((1, 1, 2)))
    more = {name: chance.choice(_HEADERS[name]) for name in names}
    if "Content_Type" in more:
        more["content"] = more.pop("Content_Type")
    if more.get("Authorization"):
        more["X_API_Key"] = ""
    return path, body, more
