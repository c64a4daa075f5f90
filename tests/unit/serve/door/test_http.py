"""The HTTP door: every refusal with its status, body and headers; through a real uvicorn where the wire matters."""

import gzip
import io
import json
import zlib
from typing import Any

import polars as pl
import pytest
from http_parts import BODY, check_error, registry, serving
from serving_parts import ROW, call, post

from tidemill.serve.replica import Replica
from tidemill.serve.wire import arrow

__all__ = ["registry"]


# Paths, methods, types


def test_it_answers_a_body_in_parts(registry: str) -> None:
    async def main(replica: Replica) -> None:
        for parts in ((BODY,), (BODY[:7], BODY[7:]), (b"", BODY[:1], b"", BODY[1:], b"")):
            got = await call(replica.application, "POST", "/predict", *parts)
            assert got and got.status == 200 and got.headers["content-type"] == "application/json"
            assert got.json["version"] == "1" and got.json["predictions"][0]["label"] in ("low", "mid", "ä-high")

    serving(registry, main)


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/nowhere", 404, "/openapi.json"),
        ("POST", "/predict/../x", 404, "/predict/../x"),
        ("POST", "/predict/", 404, "/predict/"),
        ("GET", "/" + "x" * 5000, 404, "x" * 199),
        ("GET", "/\x00é", 404, ""),
        ("GET", "/predict", 405, "GET"),
        ("DELETE", "/health", 405, "DELETE"),
        ("POST", "/metrics", 405, "POST"),
        ("M" * 5000, "/predict", 405, "M" * 20),
        ("GET", "/v2/models/small/infer", 405, "GET"),
        ("DELETE", "/v2", 405, "DELETE"),
        ("POST", "/v2/health/live", 405, "takes GET"),
        ("GET", "/v2/nothing", 404, "/v2/nothing"),
        ("GET", "/v2/models/other", 404, "other"),
        ("GET", "/v2/models/small/versions/9", 404, "9"),
    ],
)
def test_other_paths_and_methods_are_refused_in_json(
    registry: str, method: str, path: str, status: int, text: str
) -> None:
    async def main(replica: Replica) -> None:
        got = check_error(await call(replica.application, method, path), status, text)
        assert ("allow" in got.headers) == (status == 405) and len(got.body) < 1000

    serving(registry, main)


def test_head_is_get_without_the_body(registry: str) -> None:
    async def main(replica: Replica) -> None:
        for path in ("/health", "/v2/health/ready", "/v2/models/small", "/openapi.json"):
            get, head = [await call(replica.application, method, path) for method in ("GET", "HEAD")]
            assert get and head and head.status == get.status == 200 and head.body == b""
            if path != "/health":  # it counts seconds
                assert head.headers == get.headers
        refused = await call(replica.application, "HEAD", "/predict")
        assert refused and refused.status == 405 and refused.body == b"" and refused.headers["allow"] == "POST"

    serving(registry, main)


def test_health_names_the_model_and_what_it_runs(registry: str) -> None:
    async def main(replica: Replica) -> None:
        got = await call(replica.application, "GET", "/health")
        assert got and got.json | {"rollout": None} == {
            "status": "ok",
            "model": "small",
            "version": "1",
            "rollout": None,
        }
        rollout = got.json["rollout"]
        assert rollout["replica"] == "r1" and rollout["versions"] == {"champion": "1"} and rollout["refused"] == []

    serving(registry, main)


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("application/json", 200),
        ("Application/JSON ; charset=utf-8", 200),
        (None, 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("", 415),
        ("\xff", 415),
        ("x" * 5000, 415),
    ],
)
def test_content_types(registry: str, given: str | None, status: int) -> None:
    async def main(replica: Replica) -> None:
        headers = [] if given is None else [("Content-Type", given)]
        got = await post(replica.application, "/predict", BODY, headers=headers)
        assert got.status == status
        if status == 415:
            check_error(got, 415, "application/json, application/vnd.apache.arrow.stream")
            assert len(got.body) < 500

    serving(registry, main)


def test_an_arrow_type_is_known_in_any_case_and_with_parameters(registry: str) -> None:
    stream = io.BytesIO()
    pl.DataFrame([{"open": True}]).write_ipc_stream(stream)

    async def main(replica: Replica) -> None:
        for given in (arrow.TYPE.decode(), arrow.TYPE.decode().title(), f"{arrow.TYPE.decode()}; x=y"):
            got = await post(replica.application, "/predict", stream.getvalue(), headers=[("Content-Type", given)])
            assert got.status == 200, got
        got = await post(replica.application, "/predict", BODY, headers=[("Content-Type", arrow.TYPE.decode())])
        check_error(got, 400, "Arrow IPC stream")

    serving(registry, main)


# Bodies


def test_a_body_is_read_no_further_than_the_limit(registry: str) -> None:
    async def main(replica: Replica) -> None:
        got = await call(replica.application, "POST", "/predict", b"x" * 600, b"x" * 600, object())
        check_error(got, 413, "at most 5 rows and 1000 bytes")
        check_error(await call(replica.application, "POST", "/predict", b"x" * 1001), 413, "1001 bytes")
        check_error(await post(replica.application, "/v2/models/small/infer", b"x" * 1001), 413)
        check_error(await post(replica.application, "/feedback", b"x" * 1001), 413)
        check_error(await post(replica.application, "/v2/repository/index", b" " * 1001), 413, "1001 bytes")

    serving(registry, main)


@pytest.mark.parametrize("length", ["1001", "9" * 15, "9" * 16, "9" * 5000])
def test_a_body_that_says_it_is_too_large_is_not_read(registry: str, length: str) -> None:
    async def main(replica: Replica) -> None:
        async def receive() -> Any:
            raise AssertionError("it was read")

        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"content-length", length.encode())]
        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers}
        await replica.application(scope, receive, send)
        assert sent[0]["status"] == 413 and b"1000 bytes" in sent[1]["body"] and len(sent[1]["body"]) < 500

    serving(registry, main)


@pytest.mark.parametrize(
    "length", ["-1", "-99999", "+5", "5.0", "1e3", "0x10", "abc", "", " ", "5 5", "\xb2", "٣", "1_0"]
)
def test_a_length_that_is_no_number_is_refused(registry: str, length: str) -> None:
    async def main(replica: Replica) -> None:
        waiting = iter([{"type": "http.request", "body": BODY, "more_body": False}])

        async def receive() -> Any:
            return next(waiting)

        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"content-length", length.encode("utf-8"))]
        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers}
        await replica.application(scope, receive, send)
        assert sent[0]["status"] == 400 and b"Content-Length is a number of bytes" in sent[1]["body"]

    serving(registry, main)


NONSENSE = [
    "",
    "\x00",
    "\xff\xfe",
    "x" * 9000,
    "-1",
    "1e999",
    "nan",
    "bearer",
    "Bearer",
    "Bearer \xff",
    "*;q=x",
    ";;,,=",
]


def test_nonsense_in_headers_is_never_a_fault_of_ours(registry: str) -> None:
    names = ["accept-encoding", "authorization", "x-api-key", "content-encoding", "content-type", "accept", "te"]
    names += ["x-request-timeout-seconds", "inference-header-content-length", "content-length", "host", "expect"]
    infer = json.dumps({"inputs": [{"name": "open", "datatype": "BOOL", "shape": [1], "data": [True]}]}).encode()

    async def main(replica: Replica) -> None:
        for name in names:
            for value in NONSENSE:
                for path, body in (("/predict", BODY), ("/v2/models/small/infer", infer), ("/feedback", b"{}")):
                    got = await post(replica.application, path, body, headers=[(name, value)])
                    assert got.status in (200, 400, 401, 404, 413, 415, 422), (name, value, path, got)

    serving(registry, main)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "GZIP", "identity", " gzip "])
def test_compressed_bodies_are_taken(registry: str, encoding: str) -> None:
    packed = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress}.get(encoding.strip().lower())

    async def main(replica: Replica) -> None:
        body = packed(BODY) if packed else BODY
        got = await post(replica.application, "/predict", body, headers=[("Content-Encoding", encoding)])
        assert got.status == 200, got

    serving(registry, main)


def test_what_cannot_be_decompressed_is_refused(registry: str) -> None:
    async def main(replica: Replica) -> None:
        for encoding, body, status, text in (
            ("br", BODY, 415, "gzip, deflate or not at all"),
            ("gzip, gzip", BODY, 415, "gzip, gzip"),
            ("gzip", BODY, 400, "whole and undamaged"),
            ("gzip", gzip.compress(BODY)[:-9], 400, "whole and undamaged"),
            ("deflate", b"\x00", 400, "whole and undamaged"),
            ("gzip", gzip.compress(b" " * 10**5), 413, "more than 1000 bytes"),
            ("deflate", zlib.compress(b" " * 10**5), 413, "more than 1000 bytes"),
        ):
            got = await post(replica.application, "/predict", body, headers=[("Content-Encoding", encoding)])
            check_error(got, status, text)

    serving(registry, main)


def test_large_answers_are_compressed_where_the_client_asks_for_it(registry: str) -> None:
    body = json.dumps({"rows": [ROW] * 200}).encode()

    async def main(replica: Replica) -> None:
        plain = await post(replica.application, "/predict", body)
        for accept, undo in (("gzip, deflate, br", gzip.decompress), ("deflate", zlib.decompress)):
            got = await post(replica.application, "/predict", body, headers=[("Accept-Encoding", accept)])
            assert got.headers["content-encoding"] in accept and int(got.headers["content-length"]) == len(got.body)
            assert len(got.body) < len(plain.body) / 2
            found = json.loads(undo(got.body))["predictions"]
            labels = [prediction["label"] for prediction in found]
            assert labels == [prediction["label"] for prediction in plain.json["predictions"]]
        for accept in ("br", "identity", "gzip;q=0", ""):
            got = await post(replica.application, "/predict", body, headers=[("Accept-Encoding", accept)])
            assert "content-encoding" not in got.headers and len(got.json["predictions"]) == 200
        small = await post(replica.application, "/predict", BODY, headers=[("Accept-Encoding", "gzip")])
        assert "content-encoding" not in small.headers

    serving(registry, main, limits={})
