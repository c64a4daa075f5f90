import gc
import json
import random

import pytest

from tidemill.errors import RequestError
from tidemill.serve.wire import depth


def nested(levels: int, inside: str = "1") -> bytes:
    return ("[" * levels + inside + "]" * levels).encode()


def refused(body: bytes) -> None:
    with pytest.raises(RequestError, match=rf"nested at most {depth.LIMIT} levels deep\. Got: deeper") as caught:
        depth.check(body)
    assert caught.value.status == 400


def test_the_limit_is_exact() -> None:
    depth.check(nested(depth.LIMIT))
    refused(nested(depth.LIMIT + 1))
    objects = lambda levels: b'{"a":' * levels + b"1" + b"}" * levels  # noqa: E731
    depth.check(objects(depth.LIMIT))
    refused(objects(depth.LIMIT + 1))


def test_width_is_no_depth() -> None:
    depth.check(json.dumps({"rows": [{"a": [1], "b": {}}] * 5000}).encode())
    refused(json.dumps({"rows": [{"a": [1], "b": {}}] * 5000}).encode()[:-2] + b"," + nested(31) + b"]}")


@pytest.mark.parametrize(
    "text", ["[" * 99, "{" * 99 + "}" * 99, '"' + "[" * 99, "\\" + "[" * 99, '\\"[' * 99, '"\\' * 50]
)
def test_brackets_in_texts_do_not_count(text: str) -> None:
    depth.check(json.dumps({"rows": [{"a": text}]}).encode())
    refused(json.dumps([text]).encode()[:-1] + b"," + nested(depth.LIMIT) + b"]")


@pytest.mark.parametrize("body", [b"", b"]" * 9, b"]" * 999, b'"' + b"[" * 999, b"[" * 2 * depth.LIMIT, b"\\" * 99])
def test_what_is_no_json_is_the_decoders_to_refuse(body: bytes) -> None:
    depth.check(body)
    with pytest.raises(ValueError):
        json.loads(body)


def test_what_is_opened_and_never_closed_is_deep() -> None:
    refused(b"[" * 100)
    refused(b"[" * 3_000_000)


def test_texts_and_levels_go_on_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(0)
    pieces = ['"a]"', '"\\"["', "[]", "{}", '{"[":1}']
    for size in (1, 2, 3, 7):
        monkeypatch.setattr(depth, "_CHUNK", size)
        for levels in (depth.LIMIT - 1, depth.LIMIT, depth.LIMIT + 1):
            inside = ",".join(chance.choices(pieces[:2], k=40)) + ',"' + "[" * 9 + '"'
            body = nested(levels, inside)
            json.loads(body)
            depth.check(body) if levels <= depth.LIMIT else refused(body)


def test_parsing_looks_for_no_garbage_and_lets_others_look_again() -> None:
    seen = []
    gc.callbacks.append(lambda phase, info: seen.append(info))
    try:
        depth.parsed(json.dumps({"rows": [[[]]] * 100_000}).encode(), json.loads)
        assert not seen and gc.isenabled()
        with pytest.raises(ValueError, match="Expecting"):
            depth.parsed(b"[1,", json.loads)
        assert gc.isenabled()
    finally:
        gc.callbacks.pop()
