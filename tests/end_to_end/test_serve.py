"""`tidemill serve` as a process, asked over HTTP, against plain ONNX Runtime on raw arrays."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator

import numpy as np
import onnxruntime
import pytest

from tidemill.bundle.registry import Registry
from tidemill.data.raw import from_rows, from_table
from tidemill.serve import protocol

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def command(registry, port, *more):
    words = [sys.executable, "-m", "tidemill.cli", "serve", "--registry", registry.path, "--model", "small"]
    return [*words, "--port", str(port), *more]


@pytest.fixture(scope="module")
def registry(small_multiclass, tmp_path_factory):
    registry = Registry(tmp_path_factory.mktemp("registry"))
    registry.promote("small", registry.add("small", small_multiclass.folder), by="me", reason="first")
    return registry


@pytest.fixture(scope="module")
def server(registry) -> Iterator[tuple[str, str]]:
    """The server's address and what it printed; ended by Ctrl-C to all of its group, as a terminal does."""
    port = free_port()
    process = subprocess.Popen(
        command(registry, port), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    said = ""
    try:
        while "Ctrl-C" not in said:
            line = process.stdout.readline()
            assert line, f"the server ended: {said}"
            said += line
        yield f"http://127.0.0.1:{port}", said
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            rest, _ = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 0, rest
    assert rest.strip() == "Stopping …", "nothing else is said at the end"


def ask(url, path, body=None):
    try:
        with urllib.request.urlopen(urllib.request.Request(url + path, body), timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_answers_over_http_are_plain_onnxruntimes(server, small_multiclass):
    url, _ = server
    inputs = small_multiclass.schema.inputs
    raw = from_table(small_multiclass.table, inputs)
    rows = protocol.rows_of(raw, inputs, 400)
    session = onnxruntime.InferenceSession(small_multiclass.folder / "model.onnx")
    names = [value.name for value in session.get_inputs()]
    for batch in (1, 2, 7, 400):
        status, body = ask(url, "/predict", json.dumps({"rows": rows[:batch]}).encode())
        assert status == 200, body
        predictions = json.loads(body)["predictions"]
        got = np.array([list(prediction["probabilities"].values()) for prediction in predictions], np.float32)
        same_batch = session.run(None, {name: raw[name][:batch] for name in names})
        np.testing.assert_array_equal(got, same_batch[0])
        assert [prediction["label"] for prediction in predictions] == same_batch[1].tolist()
        everything = session.run(None, {name: raw[name] for name in names})
        np.testing.assert_allclose(got, everything[0][:batch], atol=1e-6, rtol=0)


def test_the_line_it_prints_works(server):
    url, said = server
    line = next(line for line in said.splitlines() if line.startswith("curl "))
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["version"] == "1" and url in line
    assert "INFO" not in said and "WARNING" not in said, "Ray keeps quiet"


@pytest.mark.parametrize(
    ("row", "named"),
    [({}, "open"), ({"open": True, "sizze": 1}, "sizze"), ({"open": True, "size": "big"}, "size")],
)
def test_bad_requests_name_the_column(server, row, named):
    status, body = ask(server[0], "/predict", json.dumps({"rows": [row]}).encode())
    error = json.loads(body)["error"]
    assert status == 422 and named in error["observed"] and error["rule"] and error["remedy"]


def test_other_doors(server):
    url, _ = server
    assert ask(url, "/predict", b"{")[0] == 400
    assert ask(url, "/predict")[0] == 405
    assert ask(url, "/nothing")[0] == 404
    assert ask(url, "/predict", b"x" * (17 * 2**20))[0] == 413
    assert json.loads(ask(url, "/health")[1]) == {"status": "ok", "model": "small", "version": "1"}
    status, body = ask(url, "/metrics")
    assert status == 200 and b'tidemill_requests_total{path="/predict",status="405"} 1.0' in body


def test_missing_and_unseen_values_are_answered(server, small_multiclass):
    odd = [{"open": True}, {"open": False, "city": "never seen", "size": 1e300, "at": "9999-12-31T23:59:59Z"}]
    status, body = ask(server[0], "/predict", json.dumps({"rows": odd}).encode())
    got = [list(prediction["probabilities"].values()) for prediction in json.loads(body)["predictions"]]
    session = onnxruntime.InferenceSession(small_multiclass.folder / "model.onnx")
    raw = from_rows(odd, small_multiclass.schema.inputs)
    expected = session.run(None, {value.name: raw[value.name] for value in session.get_inputs()})[0]
    assert status == 200 and np.array_equal(np.array(got, np.float32), expected)


def test_check_stops_after_the_verified_answer(registry):
    done = subprocess.run(command(registry, free_port(), "--check"), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("Checked: the answer over HTTP is the bundle's own.\n") and not done.stderr


def test_a_port_in_use_ends_at_once(server, registry):
    port = server[0].rsplit(":", 1)[1]
    done = subprocess.run(command(registry, port), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and f"127.0.0.1:{port}" in done.stderr and "in use" in done.stderr


def test_a_corrupt_bundle_ends_at_once(small_multiclass, tmp_path):
    registry = Registry(tmp_path / "registry")
    registry.promote("small", registry.add("small", small_multiclass.folder), by="me", reason="first")
    (tmp_path / "registry/small/1/model.onnx").write_bytes(b"")
    done = subprocess.run(command(registry, free_port()), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "model.onnx" in done.stderr and "was altered" in done.stderr
