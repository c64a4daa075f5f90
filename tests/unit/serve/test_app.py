import asyncio
import json
import shutil

import pytest
from pydantic import ValidationError
from starlette.requests import Request

from tidemill.bundle.registry import Registry
from tidemill.errors import BundleError, RegistryError
from tidemill.serve import app
from tidemill.serve.app import Arguments, Server


@pytest.fixture(scope="module")
def registry(small_multiclass, tmp_path_factory):
    registry = Registry(tmp_path_factory.mktemp("registry"))
    registry.promote("small", registry.add("small", small_multiclass.folder), by="me", reason="first")
    return registry


@pytest.fixture(scope="module")
def server(registry):
    return Server(Arguments(registry=registry.path, model="small", max_bytes=1000, max_rows=5))


def ask(server, method, path, *parts):
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    waiting = iter(messages)

    async def receive():
        return next(waiting)

    scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b"", "scheme": "http"}
    response = asyncio.run(server(Request(scope, receive)))
    return response.status_code, response


def test_it_answers(server):
    status, response = ask(server, "POST", "/predict", b'{"rows":[{"op', b'en":true}]}')
    content = json.loads(response.body)
    assert status == 200 and content["version"] == "1" and response.media_type == "application/json"
    assert content["predictions"][0]["label"] in ("low", "mid", "ä-high")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_health_names_the_model(server, method):
    status, response = ask(server, method, "/health")
    assert status == 200 and json.loads(response.body) == {"status": "ok", "model": "small", "version": "1"}


@pytest.mark.parametrize(
    ("method", "path", "status", "observed"),
    [
        ("GET", "/", 404, "/"),
        ("POST", "/predict/../x", 404, "/predict/../x"),
        ("GET", "/predict", 405, "GET"),
        ("DELETE", "/health", 405, "DELETE"),
        ("POST", "/metrics", 405, "POST"),
    ],
)
def test_other_paths_and_methods_are_refused_in_json(server, method, path, status, observed):
    got, response = ask(server, method, path)
    assert got == status and json.loads(response.body)["error"]["observed"] == observed
    assert ("allow" in response.headers) == (status == 405)


def test_a_body_is_read_no_further_than_the_limit(server):
    status, response = ask(server, "POST", "/predict", b"x" * 600, b"x" * 600, b"x" * 10**9)
    assert status == 413 and "at most 5 rows and 1000 bytes" in json.loads(response.body)["error"]["rule"]


def test_wrong_rows_name_the_column(server):
    status, response = ask(server, "POST", "/predict", b'{"rows":[{"open":true,"sizze":1}]}')
    assert status == 422 and "sizze" in json.loads(response.body)["error"]["observed"]


def test_a_client_that_goes_away_is_no_fault(server):
    async def receive():
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": [], "query_string": b""}
    assert asyncio.run(server(Request(scope, receive))).status_code == 499


def test_a_fault_of_ours_is_a_500_without_details(server, monkeypatch):
    monkeypatch.setattr(server, "_predict", lambda body: 1 / 0)
    status, response = ask(server, "POST", "/predict", b"{}")
    assert status == 500 and b"ZeroDivision" not in response.body and json.loads(response.body)["error"]["remedy"]


def test_metrics_count_by_known_paths_only(registry):
    server = Server(Arguments(registry=registry.path, model="small"))
    ask(server, "POST", "/predict", b'{"rows":[{"open":true},{"open":false}]}')
    for path in ("/a", "/b"):
        ask(server, "GET", path)
    status, response = ask(server, "GET", "/metrics")
    text = response.body.decode()
    assert status == 200 and response.headers["content-type"].startswith("text/plain")
    assert 'tidemill_requests_total{path="/predict",status="200"} 1.0' in text
    assert 'tidemill_requests_total{path="other",status="404"} 2.0' in text
    assert "tidemill_errors_total 2.0" in text and "tidemill_rows_total 2.0" in text
    assert 'tidemill_request_seconds_count{path="/predict"} 1.0' in text
    assert 'tidemill_model_info{model="small",version="1"} 1.0' in text


def test_what_cannot_be_served_is_named(registry, tmp_path):
    with pytest.raises(RegistryError, match="other/champion"):
        Server(Arguments(registry=registry.path, model="other"))
    shutil.copytree(registry.path, tmp_path / "copy")
    (tmp_path / "copy/small/1/golden.json").write_text("{}")
    with pytest.raises(BundleError, match=r"golden\.json in .* was altered"):
        Server(Arguments(registry=str(tmp_path / "copy"), model="small"))


def test_arguments_are_checked():
    for wrong in ({"modell": "x"}, {"max_rows": 0}, {"threads": "many"}):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            Arguments(**{"registry": "r", "model": "m", **wrong})


def test_the_builder_makes_an_application():
    application = app.build(Arguments(registry="r", model="m", provider="cuda"))
    assert application._bound_deployment.ray_actor_options["num_gpus"] == 1
