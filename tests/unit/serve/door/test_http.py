"""The HTTP door: every refusal with its status, body and headers; through a real uvicorn where the wire matters."""

import asyncio
import contextlib
import gzip
import io
import json
import zlib
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from serving_parts import ROW, Got, arguments, call, listening, post, started

from patience import PATIENCE, until_async
from tidemill import cli
from tidemill.bundle.registry.registry import Registry
from tidemill.errors import RequestError
from tidemill.serve.replica import Replica
from tidemill.serve.wire import arrow

BODY = json.dumps({"rows": [ROW]}).encode()
LIMITS = {"rows": 5, "bytes": 1000, "seconds": 0.3}


@pytest.fixture(scope="module")
def registry(small_multiclass: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    registry = Registry(tmp_path_factory.mktemp("registry"))
    registry.promote("small", registry.add("small", small_multiclass.folder), by="me", reason="first")
    return registry.path


def serving(registry: str, main: Any, **more: Any) -> None:
    async def started_main() -> None:
        async with started(arguments(registry, **{"limits": LIMITS, **more})) as replica:
            await main(replica)

    asyncio.run(started_main())


def check_error(got: Got | None, status: int, text: str = "") -> Got:
    """Our errors are JSON, with rule, observation and remedy."""
    assert got is not None and got.status == status, got
    assert got.headers["content-type"] == "application/json" and int(got.headers["content-length"]) == len(got.body)
    error = got.json["error"]
    if isinstance(error, dict):
        assert error.keys() == {"rule", "observed", "remedy"} and all(error.values())
    assert text in got.body.decode()
    return got


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


# Keys


def made(tmp_path: Path, capsys: Any, *more: str) -> str:
    capsys.readouterr()
    assert cli.main(["keys", "create", "--file", str(tmp_path / "keys.json"), "--name", "app", *more]) == 0
    return str(capsys.readouterr().out.strip())


COUNTS = ("/metrics", "/profile", "/v2/models/stats", "/v2/models/small/stats", "/v2/models/small/versions/1/stats")


def test_keys_open_what_they_are_good_for(registry: str, tmp_path: Path, capsys: Any) -> None:
    app = made(tmp_path, capsys, "--scopes", "predict")
    rare = made(tmp_path, capsys, "--scopes", "predict,feedback", "--rate", "0.01")
    operator = made(tmp_path, capsys, "--scopes", "metrics,admin")

    async def main(replica: Replica) -> None:
        ask = replica.application
        for headers in ([], [("Authorization", "Bearer wrong")], [("X-API-Key", app + "x")], [("Authorization", app)]):
            for path in ("/predict", "/feedback", "/v2/models/small/infer", "/v2/repository/models/small/unload"):
                got = check_error(await post(ask, path, BODY, headers=headers), 401)
                assert got.headers["www-authenticate"] == "Bearer"
            for path in COUNTS:
                check_error(await call(ask, "GET", path, headers=headers), 401)
        for name, value in (
            ("Authorization", f"Bearer {app}"),
            ("authorization", f"bearer {app} "),
            ("X-API-Key", app),
        ):
            assert (await post(ask, "/predict", BODY, headers=[(name, value)])).status == 200
        mine = [("X-API-Key", app)]
        check_error(await post(ask, "/feedback", {"labels": []}, headers=mine), 403, "not for feedback")
        for path in COUNTS:
            check_error(await call(ask, "GET", path, headers=mine), 403, "not for metrics")
        unload = "/v2/repository/models/small/unload"
        check_error(await post(ask, unload, {}, headers=mine), 403, "not for admin")
        for path in COUNTS:
            found = await call(ask, "GET", path, headers=[("X-API-Key", operator)])
            assert found and found.status == 200
        statistics = "ModelStatistics"
        replica.backend.admit(statistics, {"x-api-key": operator})
        for metadata, status in (({}, 401), ({"x-api-key": app}, 403)):
            with pytest.raises(RequestError) as caught:
                replica.backend.admit(statistics, metadata)
            assert caught.value.status == status
        for path in ("/health", "/openapi.json", "/v2/health/live", "/v2/models/small"):
            answer = await call(ask, "GET", path)
            assert answer and answer.status == 200, "open to all"
        assert (await post(ask, "/predict", BODY, headers=[("X-API-Key", rare)])).status == 200
        got = check_error(await post(ask, "/predict", BODY, headers=[("X-API-Key", rare)]), 429, "requests a second")
        assert int(got.headers["retry-after"]) > 1

    serving(registry, main, keys=tmp_path / "keys.json")


def test_without_keys_statistics_are_open_as_tritons_clients_expect(registry: str) -> None:
    async def main(replica: Replica) -> None:
        for path in COUNTS:
            got = await call(replica.application, "GET", path)
            assert got and got.status == 200
        check_error(await post(replica.application, "/v2/models/stats", {}), 405)
        replica.backend.admit("ModelStatistics", {})

    serving(registry, main)


def test_a_refusal_for_want_of_a_key_comes_before_the_body_is_read(registry: str, tmp_path: Path, capsys: Any) -> None:
    made(tmp_path, capsys)

    async def main(replica: Replica) -> None:
        got = await call(replica.application, "POST", "/predict", b"x" * 10**6)
        check_error(got, 401)

    serving(registry, main, keys=tmp_path / "keys.json")


def test_a_revoked_key_is_refused_within_seconds(registry: str, tmp_path: Path, capsys: Any) -> None:
    key = made(tmp_path, capsys)
    file = str(tmp_path / "keys.json")

    async def main(replica: Replica) -> None:
        headers = [("X-API-Key", key)]
        assert (await post(replica.application, "/predict", BODY, headers=headers)).status == 200
        assert cli.main(["keys", "revoke", key.split("_")[1], "--file", file]) == 0
        async with asyncio.timeout(PATIENCE):
            while (await post(replica.application, "/predict", BODY, headers=headers)).status != 401:
                await asyncio.sleep(0.05)

    serving(registry, main, keys=file)


# Faults, and what is no HTTP


def test_a_fault_of_ours_is_a_500_without_details(registry: str, monkeypatch: Any, caplog: Any) -> None:
    async def main(replica: Replica) -> None:
        monkeypatch.setattr(replica.service, "predict", lambda ask: 1 / 0)
        for path, body in (("/predict", BODY), ("/v2/models/small/infer", _infer())):
            got = await post(replica.application, path, body)
            check_error(got, 500)
            assert b"ivision" not in got.body and b"Traceback" not in got.body
        assert "ZeroDivisionError" in caplog.text
        assert replica.ongoing == 0

    serving(registry, main)


def _infer() -> bytes:
    return json.dumps({"inputs": [{"name": "open", "datatype": "BOOL", "shape": [1], "data": [True]}]}).encode()


def test_a_client_that_goes_away_is_no_fault(registry: str, caplog: Any) -> None:
    async def main(replica: Replica) -> None:
        for parts in ((), (BODY[:9],), (BODY[:9], BODY[9:12])):
            assert await call(replica.application, "POST", "/predict", *parts, disconnect=True) is None
        assert replica.ongoing == 0 and not caplog.records

    serving(registry, main)


def test_metrics_count_by_known_paths_only(registry: str) -> None:
    async def main(replica: Replica) -> None:
        await post(replica.application, "/predict", {"rows": [{"open": True}, {"open": False}]})
        for path in ("/a", "/b"):
            await call(replica.application, "GET", path)
        await post(replica.application, "/predict", b"{")
        got = await call(replica.application, "GET", "/metrics")
        assert got and got.status == 200 and got.headers["content-type"].startswith("text/plain")
        text = got.body.decode()
        assert 'tidemill_requests_total{path="/predict",status="200"} 1.0' in text
        assert 'tidemill_requests_total{path="other",status="404"} 2.0' in text
        assert "tidemill_errors_total 3.0" in text and "tidemill_batch_rows_sum 2.0" in text
        assert 'tidemill_request_duration_seconds_count{stage="total"} 1.0' in text
        assert 'tidemill_version_info{model="small",role="champion",version="1"} 1.0' in text
        assert "tidemill_queue_rows 0.0" in text and "tidemill_ledger_lag_seconds 0.0" in text

    serving(registry, main)


def test_websockets_are_refused_and_lifespan_is_answered(registry: str) -> None:
    async def main(replica: Replica) -> None:
        async def talk(kind: str, *types: str) -> list[str]:
            waiting, sent = iter([{"type": type_} for type_ in types]), []

            async def receive() -> Any:
                return next(waiting)

            async def send(message: Any) -> None:
                sent.append(message["type"])

            await replica.application({"type": kind}, receive, send)
            return sent

        assert await talk("websocket", "websocket.connect") == ["websocket.close"]
        ended = ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        assert await talk("lifespan", "lifespan.startup", "lifespan.shutdown") == ended

    serving(registry, main)


# On the wire


class Wire:
    """A connection that says what it is told to, byte by byte."""

    async def __aenter__(self) -> "Wire":
        return self

    def __init__(self, port: int) -> None:
        self.port = port

    async def say(self, *parts: bytes, pause: float = 0.0) -> None:
        if not hasattr(self, "reader"):
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(pause)

    async def hear(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split()[1]), headers, body

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\n"


def on_the_wire(registry: str, main: Any, **more: Any) -> None:
    async def with_server(replica: Replica) -> None:
        async with listening(replica) as port:
            await main(replica, port)

    serving(registry, with_server, **more)


def test_one_connection_carries_many_requests_refused_ones_among_them(registry: str) -> None:
    def framed(body: bytes) -> bytes:
        return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body

    async def main(replica: Replica, port: int) -> None:
        async with Wire(port) as wire:
            for body, status in ((BODY, 200), (b"{", 400), (BODY, 200), (b'{"rows":[{}]}', 422), (BODY, 200)):
                await wire.say(framed(body))
                assert (await wire.hear())[0] == status
            await wire.say(framed(BODY) + framed(b"{") + framed(BODY))  # all at once
            assert [(await wire.hear())[0] for _ in range(3)] == [200, 400, 200]
            await wire.say(b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\nGET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            head = (await wire.reader.readuntil(b"\r\n\r\n")).decode()
            assert head.startswith("HTTP/1.1 200") and (await wire.hear())[0] == 200

    on_the_wire(registry, main)


def test_chunked_and_slow_bodies(registry: str) -> None:
    def chunk(part: bytes) -> bytes:
        return b"%x\r\n%s\r\n" % (len(part), part)

    async def main(replica: Replica, port: int) -> None:
        chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        async with Wire(port) as wire:
            await wire.say(chunked, chunk(BODY[:5]), chunk(BODY[5:]), b"0\r\n\r\n", pause=0.01)
            assert (await wire.hear())[0] == 200
            await wire.say(chunked + chunk(b" " * 600) + chunk(b" " * 600) + b"0\r\n\r\n")
            assert (await wire.hear())[0] == 413
        for begun in (
            HEAD + b"Content-Length: 50\r\n\r\n",  # and no body at all
            HEAD + b"Content-Length: 50\r\n\r\n" + BODY[:10],
            chunked,
            chunked + chunk(BODY[:10]),
        ):
            async with Wire(port) as wire:
                await wire.say(begun)
                status, headers, body = await wire.hear()
                assert status == 408 and b"arrives within 0.3 seconds" in body and headers["connection"] == "close"
                assert await wire.reader.read() == b"", "the connection is closed"
        async with Wire(port) as wire:  # slow, but in time
            await wire.say(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY), BODY[:3], BODY[3:9], BODY[9:], pause=0.02)
            assert (await wire.hear())[0] == 200

    on_the_wire(registry, main)


def test_connections_that_break_leave_nothing_behind(registry: str, caplog: Any) -> None:
    async def main(replica: Replica, port: int) -> None:
        for begun in (
            b"PO",
            HEAD,
            HEAD + b"Content-Length: 50\r\n\r\n" + BODY[:10],
            HEAD + b"Content-Length: 50\r\n\r\n",
        ):
            async with Wire(port) as wire:
                await wire.say(begun)
        async with Wire(port) as wire:  # gone before its answer
            await wire.say(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
        await until_async(lambda: not replica.ongoing)
        async with Wire(port) as wire:
            await wire.say(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
            assert (await wire.hear())[0] == 200
        assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]

    on_the_wire(registry, main)


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: -5\r\n",
        b"Content-Length: abc\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: nonsense\r\n",
        b"no colon\r\n",
        b"X: \x00\r\n",
    ],
)
def test_nonsense_on_the_wire_is_the_clients_fault(registry: str, lines: bytes) -> None:
    async def main(replica: Replica, port: int) -> None:
        async with Wire(port) as wire:
            await wire.say(HEAD + lines + b"\r\n" + BODY)
            status, _, _ = await wire.hear()
            assert status in (400, 413, 408), status

    on_the_wire(registry, main)
