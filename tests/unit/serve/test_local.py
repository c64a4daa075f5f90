import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

from tidemill.errors import BundleError
from tidemill.ledger.record import Form, Role
from tidemill.serve import local, protocol
from tidemill.serve.arguments import Arguments
from tidemill.serve.ask import Ask, Part
from tidemill.serve.predictor import Predictor


@pytest.fixture
def other_server():
    """A server at the address that is not ours: answers whatever it is told to."""
    told = {"status": 200, "body": b"{}"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(503 if told["status"] == 503 else 200)
            self.end_headers()
            self.wfile.write(told["body"] if told["status"] == 503 else b'{"status": "ok"}')

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(told["status"])
            self.end_headers()
            self.wfile.write(told["body"])

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", told
        server.shutdown()
        thread.join()


def test_a_server_that_refuses_a_real_record_is_no_server(other_server):
    url, told = other_server
    told.update(status=503, body=b"not yet")
    with pytest.raises(BundleError, match=r"has started answers a real record.*503: not yet"):
        local._ask(url, [{}])
    with pytest.raises(BundleError, match=r"has started is ready.*503: not yet"):
        local._refused(url, [{}])


def test_a_server_with_keys_answers_nobody_without_one(other_server):
    url, told = other_server
    with pytest.raises(BundleError, match=r"with keys refuses who has none.*it answered"):
        local._refused(url, [{}])
    told.update(status=401)
    assert local._refused(url, [{}]) == {"status": "ok"}
    told.update(status=500)
    with pytest.raises(BundleError, match=r"with keys refuses who has none.*500"):
        local._refused(url, [{}])


def test_only_the_bundles_own_answer_is_accepted(small):
    predictor = Predictor(small.folder)
    rows = protocol.rows_of(predictor.golden.raw, predictor.columns, 1)
    first = {name: values[:1] for name, values in predictor.golden.answers.items()}
    ask = Ask("5f0c", 0, 0.0, 1, None, None, Form.ROWS, b"")
    answer = json.loads(protocol.encode(ask, [Part(first, predictor.manifest.identity, Role.CHAMPION)]).body)
    local._verify(answer, rows, predictor)
    (prediction,) = answer["predictions"]
    if small.target.classes:
        prediction["probabilities"] = dict.fromkeys(prediction["probabilities"], 0.5)
    else:
        prediction["value"] *= 2
    with pytest.raises(BundleError, match=r"over HTTP is the bundle's own.*instead of"):
        local._verify(answer, rows, predictor)


def test_a_replica_that_does_not_start_is_explained():
    def run(*_, **__):
        raise RuntimeError("Deploying application tidemill failed: no memory")

    with pytest.raises(BundleError, match=r"Ray Serve starts the model.*no memory"):
        local._start(SimpleNamespace(run=run), Arguments(registry="r", model="m"))


def _serve(status):
    application = SimpleNamespace(status=status, message="the replica ended")
    return SimpleNamespace(status=lambda: SimpleNamespace(applications={"tidemill": application}))


def test_a_server_that_cannot_be_deployed_ends_the_command():
    assert local._check_alive(_serve("RUNNING"), 0.0) == 0.0
    with pytest.raises(BundleError, match=r"goes on answering\. Got: DEPLOY_FAILED: the replica ended"):
        local._check_alive(_serve("DEPLOY_FAILED"), 0.0)


def test_a_replica_that_died_is_given_time_to_come_back():
    unhealthy = 0.0
    while unhealthy < local._PATIENCE:
        unhealthy = local._check_alive(_serve("UNHEALTHY"), unhealthy)
    assert local._check_alive(_serve("RUNNING"), unhealthy) == 0.0
    with pytest.raises(BundleError, match=r"goes on answering\. Got: UNHEALTHY: the replica ended"):
        local._check_alive(_serve("UNHEALTHY"), unhealthy)


@pytest.mark.parametrize(
    ("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1"), ("::1", "[::1]"), ("example", "example")]
)
def test_the_address_it_prints_can_be_asked(host, shown):
    assert local._reachable(host) == shown
