"""What attackers sent and got a wrong answer to, once."""

import asyncio
import difflib
import gzip
import json
import random
import zlib
from pathlib import Path
from typing import Any

import grpc
import jsonschema
import pytest
from attacks_parts import registry
from serving_parts import ROW, arguments, call, post, started

from real_servers import by_grpc
from tidemill.bundle.predictor import Predictor
from tidemill.errors import RequestError
from tidemill.serve.door import openapi
from tidemill.serve.on_ray import ingress
from tidemill.serve.wire import compression, feedback, protocol
from tidemill.serve.wire.feedback import LabelRules
from tidemill.serve.wire.inference import messages
from tidemill.serve.wire.reader import Reader
from tidemill.serve.wire.refusals import Limits

__all__ = ["registry"]

SERVICE = "/inference.GRPCInferenceService"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v2", "GET"),
        ("/v2/health/ready", "GET"),
        ("/v2/models/small/config", "GET"),
        ("/v2/repository/index", "POST"),
        ("/v2/repository/models/small/load", "POST"),
        ("/v2/models/small/infer", "POST"),
    ],
)
def test_a_wrong_method_is_told_the_right_one_of_each_path(registry: str, path: str, allowed: str) -> None:
    async def main() -> None:
        async with started(arguments(registry)) as replica:
            for method in ("OPTIONS", "TRACE", "DELETE", {"GET": "POST", "POST": "GET"}[allowed]):
                got = await call(replica.application, method, path)
                assert got is not None and got.status == 405
                assert got.headers["allow"] == allowed and f"takes {allowed}" in got.json["error"]

    asyncio.run(main())


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_path_that_is_none_has_no_right_method(registry: str, method: str) -> None:
    async def main() -> None:
        async with started(arguments(registry)) as replica:
            for path in ("/v2/models/small/infer/", "/v2x", "/v2/repository/index/"):
                got = await call(replica.application, method, path)
                assert got is not None and got.status == 404

    asyncio.run(main())


def test_grpc_reads_no_more_than_it_must_before_it_looks_for_a_key() -> None:
    """It had read 2 GiB of anybody's, and a message takes four times its size to be understood."""
    for haproxy in (True, False):
        most = int(ingress.environment(haproxy=haproxy)["RAY_SERVE_GRPC_MAX_MESSAGE_SIZE"])
        assert Limits().bytes < most <= 2 * Limits().bytes


def test_an_unready_server_answers_as_the_document_says(small_multiclass: Any) -> None:
    document = json.loads(openapi.document(Predictor(small_multiclass.folder)))
    described = document["paths"]["/v2/health/ready"]["get"]["responses"]["503"]
    jsonschema.validate({"ready": False}, described["content"]["application/json"]["schema"])


@pytest.mark.parametrize("sent", [b"\x0a", b"\xff" * 9, b"\x0a\x02\xff\xff"])
def test_a_message_that_is_no_protobuf_is_the_clients_fault(
    registry: str, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with started(arguments(registry)) as replica, by_grpc(replica.backend) as channel:
            for rpc in ("ModelInfer", "ModelMetadata"):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await channel.unary_unary(f"{SERVICE}/{rpc}")(sent)
                assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
                assert "of the type that the call names" in refused.value.details()
            stream = channel.stream_stream(f"{SERVICE}/ModelStreamInfer")(iter([sent, b""]))
            answers = [messages.ModelStreamInferResponse.FromString(answer) async for answer in stream]
            assert "of the type that the call names" in answers[0].error_message
            assert "at least one input" in answers[1].error_message  # the stream went on

    asyncio.run(main())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_members_without_content_do_not_hold_up_the_others() -> None:
    """300,000 of them, 6 MB, took the event loop minutes: zlib copied all that followed, for each."""
    body = gzip.compress(b"[1]") + gzip.compress(b"") * 1023
    assert compression.decoded(body, "gzip", 3) == b"[1]"
    with pytest.raises(RequestError, match="Got: gzip: more than 1024 members") as refused:
        compression.decoded(body + gzip.compress(b""), "gzip", 3)
    assert refused.value.status == 400


@pytest.mark.parametrize("size", [2**16 - 1, 2**16, 2**16 + 1, 10**6])
def test_compressed_bodies_longer_than_what_is_read_at_once(size: int) -> None:
    body = random.Random(0).randbytes(size)  # which no compression makes shorter
    for sent, encoding in ((gzip.compress(body), "gzip"), (zlib.compress(body), "deflate")):
        assert compression.decoded(sent, encoding, size) == body
        with pytest.raises(RequestError, match="too early"):
            compression.decoded(sent[:-1], encoding, size)
        with pytest.raises(RequestError, match="at most"):
            compression.decoded(sent, encoding, size - 1)
    twice = gzip.compress(body) + gzip.compress(b"end")
    assert compression.decoded(twice, "gzip", size + 3) == body + b"end"


def test_what_is_looked_for_among_names_is_short(small_multiclass: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finding a near name to one of ten million letters took a second of everybody's time."""
    looked: list[int] = []
    find = difflib.get_close_matches

    def watched(word: str, possibilities: Any, *given: Any, **more: Any) -> list[str]:
        looked.append(max(len(word), len(list(possibilities))))
        return find(word, possibilities, *given, **more)

    monkeypatch.setattr(difflib, "get_close_matches", watched)
    predictor = Predictor(small_multiclass.folder)
    manifest = predictor.manifest
    rules, reader = LabelRules.of(manifest.identity, manifest.schema), Reader(manifest.schema)
    label = {"labels": [{"id": "0-0", "label": "x" * 10_000}]}
    with pytest.raises(RequestError, match="one of the model's classes"):
        feedback.decode(json.dumps(label).encode(), rules, Limits(), 0)
    keys = {"row": [], **{f"rows{number}": 1 for number in range(10_000)}}
    with pytest.raises(RequestError, match="unknown key 'rows9'"):
        protocol.decode(json.dumps(keys).encode(), reader, Limits())
    assert len(looked) == 2 and max(looked) <= 100


def test_nobody_without_a_key_has_a_long_body_read(registry: str) -> None:
    async def main() -> None:
        async with started(arguments(registry)) as replica:
            path, body = "/v2/repository/index", b"{" + b" " * (2**16 - 2) + b"}"
            assert (await post(replica.application, path, body)).status == 200
            for parts in ((body + b" ",), (body, b" "), (gzip.compress(body + b" "),)):
                coded = [("content-encoding", "gzip")] if len(parts[0]) < 1000 else []
                got = await call(replica.application, "POST", path, *parts, headers=coded)
                assert got is not None and got.status == 413 and "65536 bytes" in got.json["error"]

    asyncio.run(main())


def test_requests_that_need_no_key_take_no_places_of_those_that_do(registry: str) -> None:
    async def main() -> None:
        async with started(arguments(registry, queues={"requests": 1})) as replica:
            begun, ended = asyncio.Event(), asyncio.Event()

            async def slow() -> Any:
                begun.set()
                await ended.wait()
                return {"type": "http.request", "body": b"", "more_body": False}

            async def gone(message: Any) -> None:
                pass

            scope = {"type": "http", "method": "POST", "path": "/v2/repository/index", "headers": []}
            others = [asyncio.create_task(replica.application(scope, slow, gone)) for _ in range(5)]
            await begun.wait()
            assert replica.ongoing == 5
            assert (await post(replica.application, "/predict", {"rows": [ROW]})).status == 200
            ended.set()
            await asyncio.gather(*others)

    asyncio.run(main())


def ask_by_grpc(channel: Any, **more: Any) -> Any:
    request = messages.ModelInferRequest(**{"model_name": "small", **more})
    request.inputs.add(name="open", datatype="BOOL", shape=[1], contents={"bool_contents": [True]})
    read = messages.ModelInferResponse.FromString
    return channel.unary_unary(f"{SERVICE}/ModelInfer", type(request).SerializeToString, read)(request)


def test_grpc_is_counted_and_admitted_as_http_is(registry: str, tmp_path: Path) -> None:
    """It once was in no metric, no observer and no queue's length, and took no place of `queues.requests`."""
    seen = tmp_path / "seen.py"
    seen.write_text(
        "from pathlib import Path\nfrom tidemill.serve.hooks.observer import Observer\n\n\n"
        "class Seen(Observer):\n    def refused(self, event):\n"
        f"        with Path({str(tmp_path / 'refused')!r}).open('a') as file:\n"
        "            file.write(f'{event.reason} {event.status}\\n')\n"
    )

    async def main() -> None:
        more = {"queues": {"requests": 1}, "observers": {f"{seen}:Seen": {}}}
        async with started(arguments(registry, **more)) as replica, by_grpc(replica.backend) as channel:
            assert (await ask_by_grpc(channel)).model_version == "1"
            with pytest.raises(grpc.aio.AioRpcError, match="9"):
                await ask_by_grpc(channel, model_version="9")
            answers: list[Any] = []
            real = replica.service.predict

            async def watched(ask: Any) -> Any:
                answers.append((replica.ongoing, await post(replica.application, "/predict", {"rows": [ROW]})))
                return await real(ask)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(replica.service, "predict", watched)
                await ask_by_grpc(channel)
            ((ongoing, by_http),) = answers
            assert ongoing == 1 and replica.ongoing == 0
            assert by_http.status == 503 and by_http.observed == "2 requests and 0 rows"
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(replica._traffic, "predicting", 1)
                with pytest.raises(grpc.aio.AioRpcError, match="2 requests and 0 rows"):
                    await ask_by_grpc(channel)
            read = messages.ModelStreamInferResponse.FromString
            request = messages.ModelInferRequest(model_name="none")
            call = channel.stream_stream(f"{SERVICE}/ModelStreamInfer", type(request).SerializeToString, read)
            assert [bool(answer.error_message) async for answer in call(iter([request, request]))] == [True, True]
            http = b'{"inputs": [{"name": "open", "datatype": "BOOL", "shape": [1], "data": [true]}]}'
            assert (await post(replica.application, "/v2/models/small/infer", http)).status == 200
            text = replica.metrics.text().decode()
        for path, status, count in (
            (f"{SERVICE}/ModelInfer", 200, 2),
            (f"{SERVICE}/ModelInfer", 404, 1),
            (f"{SERVICE}/ModelInfer", 503, 1),
            (f"{SERVICE}/ModelStreamInfer", 404, 2),
            ("/v2/models/{model}/infer", 200, 1),
        ):
            assert f'tidemill_requests_total{{path="{path}",status="{status}"}} {count}.0' in text
        assert "tidemill_errors_total 5.0" in text
        assert 'tidemill_request_duration_seconds_count{stage="total"} 3.0' in text
        refusals = sorted((tmp_path / "refused").read_text().splitlines())
        assert refusals == ["overload 503"] * 2 + ["request 404"] * 3

    asyncio.run(main())
