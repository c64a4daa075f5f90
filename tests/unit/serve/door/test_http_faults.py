"""Faults, and what is no HTTP."""

import json
from typing import Any

from http_parts import BODY, check_error, registry, serving
from serving_parts import call, post

from tidemill.serve.replica import Replica

__all__ = ["registry"]


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
