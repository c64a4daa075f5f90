"""`tidemill serve` as a process, asked over HTTP and gRPC, against plain ONNX Runtime on raw arrays."""

import asyncio
import http.client
import json
import os
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import onnxruntime
import polars as pl
import pytest
from serve_parts import JSON, ROW, Server, ask, command, ledger, registry, server

from patience import PATIENCE, until
from tidemill.bundle.registry.registry import Registry
from tidemill.data.raw import from_rows, from_table
from tidemill.ledger import tables
from tidemill.ledger.settings import LedgerSettings
from tidemill.serve.door.inference.servicer import SERVICE
from tidemill.serve.wire import protocol
from tidemill.serve.wire.inference import messages

__all__ = ["ledger", "registry", "server"]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]


def predict(url: str, rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    status, body = ask(url, "/predict", json.dumps({"rows": rows, **more}).encode(), **{"Content-Type": JSON})
    assert status == 200, body
    found: dict[str, Any] = json.loads(body)
    return found


def plain(small: Any, raw: Any) -> Any:
    session = onnxruntime.InferenceSession(small.folder / "model.onnx")
    return session.run(None, {value.name: raw[value.name] for value in session.get_inputs()})


def test_answers_over_http_are_plain_onnxruntimes(server: Server, small_multiclass: Any) -> None:
    inputs = small_multiclass.schema.inputs
    raw = from_table(small_multiclass.table, inputs)
    rows = protocol.rows_of(raw, inputs, 400)
    everything = plain(small_multiclass, raw)
    for batch in (1, 2, 7, 400):
        predictions = predict(server.url, rows[:batch])["predictions"]
        got = np.array([list(prediction["probabilities"].values()) for prediction in predictions], np.float32)
        same_batch = plain(small_multiclass, {name: values[:batch] for name, values in raw.items()})
        np.testing.assert_array_equal(got, same_batch[0])
        assert [prediction["label"] for prediction in predictions] == same_batch[1].tolist()
        np.testing.assert_allclose(got, everything[0][:batch], atol=1e-6, rtol=0)


def test_the_line_it_prints_works(server: Server) -> None:
    line = next(line for line in server.said.splitlines() if line.startswith("curl "))
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["version"] == "1" and server.url in line
    assert "INFO" not in server.said and "WARNING" not in server.said, "Ray keeps quiet"


@pytest.mark.parametrize(
    ("row", "named"),
    [({}, "open"), ({"open": True, "sizze": 1}, "sizze"), ({"open": True, "size": "big"}, "size")],
)
def test_bad_requests_name_the_column(server: Server, row: dict[str, Any], named: str) -> None:
    status, body = ask(server.url, "/predict", json.dumps({"rows": [row]}).encode(), **{"Content-Type": JSON})
    error = json.loads(body)["error"]
    assert status == 422 and named in error["observed"] and error["rule"] and error["remedy"]


def test_other_doors(server: Server) -> None:
    url = server.url
    assert ask(url, "/predict", b"{", **{"Content-Type": JSON})[0] == 400
    assert ask(url, "/predict", b"{}")[0] == 415, "urllib calls it a form"
    assert ask(url, "/predict")[0] == 405
    assert ask(url, "/nothing")[0] == 404
    assert ask(url, "/predict", b"x" * (17 * 2**20), **{"Content-Type": JSON})[0] == 413
    health = json.loads(ask(url, "/health")[1])
    assert (health["status"], health["model"], health["version"]) == ("ok", "small", "1")
    niceness = os.getpriority(os.PRIO_PROCESS, health["rollout"]["process"])
    assert niceness == os.getpriority(os.PRIO_PROCESS, 0), "Ray would have others come first"
    status, body = ask(url, "/metrics")
    assert status == 200 and b"tidemill_requests_total{" in body and b'path="/predict",status="405"' in body
    status, body = ask(url, "/openapi.json")
    assert status == 200 and "/predict" in json.loads(body)["paths"]


def test_missing_and_unseen_values_are_answered(server: Server, small_multiclass: Any) -> None:
    odd = [{"open": True}, {"open": False, "city": "never seen", "size": 1e300, "at": "9999-12-31T23:59:59Z"}]
    predictions = predict(server.url, odd)["predictions"]
    got = [list(prediction["probabilities"].values()) for prediction in predictions]
    expected = plain(small_multiclass, from_rows(odd, small_multiclass.schema.inputs))[0]
    assert np.array_equal(np.array(got, np.float32), expected)


def test_the_open_protocol_over_rest_and_grpc(server: Server, small_multiclass: Any) -> None:
    expected = plain(small_multiclass, from_rows([ROW], small_multiclass.schema.inputs))[0]
    inputs = [
        {"name": "open", "datatype": "BOOL", "shape": [1], "data": [True]},
        {"name": "city", "datatype": "BYTES", "shape": [1], "data": ["Zürich"]},
        {"name": "size", "datatype": "FP64", "shape": [1], "data": [61.5]},
    ]
    assert ask(server.url, "/v2/health/ready")[0] == 200
    status, body = ask(server.url, "/v2/models/small/infer", json.dumps({"id": "i", "inputs": inputs}).encode())
    content = json.loads(body)
    assert status == 200 and (content["id"], content["model_version"]) == ("i", "1")
    np.testing.assert_array_equal(np.array(content["outputs"][0]["data"], np.float32), expected[0])

    async def main() -> tuple[Any, Any]:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:

            async def rpc(name: str, request: Any) -> Any:
                answers = getattr(messages, f"{name}Response")
                return await channel.unary_unary(
                    f"/{SERVICE}/{name}",
                    request_serializer=lambda message: message.SerializeToString(),
                    response_deserializer=answers.FromString,
                )(request, timeout=PATIENCE)

            assert (await rpc("ServerReady", messages.ServerReadyRequest())).ready
            request = messages.ModelInferRequest(model_name="small", id="g")
            request.inputs.add(name="open", datatype="BOOL", shape=[1]).contents.bool_contents.append(True)
            request.inputs.add(name="city", datatype="BYTES", shape=[1]).contents.bytes_contents.append(
                "Zürich".encode()
            )
            request.inputs.add(name="size", datatype="FP64", shape=[1]).contents.fp64_contents.append(61.5)
            answer = await rpc("ModelInfer", request)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await rpc("ModelInfer", messages.ModelInferRequest(model_name="other"))
            return answer, caught.value

    answer, refusal = asyncio.run(main())
    assert answer.id == "g" and answer.outputs[0].name == "probabilities"
    np.testing.assert_array_equal(np.frombuffer(answer.raw_output_contents[0], np.float32), expected[0])
    assert refusal.code() is grpc.StatusCode.NOT_FOUND and "'small'" in refusal.details()


def test_answers_and_their_labels_reach_the_ledger(server: Server, ledger: Path) -> None:
    predictions = predict(server.url, [ROW, ROW])["predictions"]
    labels = [{"id": prediction["id"], "label": "low"} for prediction in predictions]
    status, body = ask(server.url, "/feedback", json.dumps({"labels": labels}).encode(), **{"Content-Type": JSON})
    assert status == 200 and json.loads(body) == {"received": 2}
    settings, end = LedgerSettings(path=str(ledger)), time.monotonic() + PATIENCE
    mine = pl.col("id").is_in([prediction["id"] for prediction in predictions])
    while True:
        assert time.monotonic() < end, "they never came"
        try:
            found = tables.joined(settings, "small").filter(mine).collect()
            if found["true_label"].drop_nulls().to_list() == ["low"] * 2:
                break
        except Exception:  # the tables are not there yet
            if time.monotonic() > end - 1:
                raise
        time.sleep(0.2)


class Load(threading.Thread):
    """Asks without pause on one kept connection; every answer must be a 200."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port, self.ended = port, threading.Event()
        self.versions: list[str] = []
        self.failures: list[str] = []

    def run(self) -> None:
        body = json.dumps({"rows": [ROW]})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        while not self.ended.is_set():
            try:
                connection.request("POST", "/predict", body, {"Content-Type": JSON})
                response = connection.getresponse()
                content = response.read()
                if response.status != 200:
                    self.failures.append(f"{response.status}: {content[:300]!r}")
                else:
                    self.versions.append(json.loads(content)["version"])
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
        connection.close()


def test_a_promotion_under_load_fails_no_request(server: Server, registry: Registry) -> None:
    loads = [Load(server.port) for _ in range(3)]
    for load in loads:
        load.start()
    try:
        for version in ("2", "1", "2", "1"):
            registry.promote("small", version, by="me", reason="better")
            until(lambda now=[version]: all(load.versions[-1:] == now for load in loads), f"version {version}")
    finally:
        for load in loads:
            load.ended.set()
        for load in loads:
            load.join()
    assert [load.failures for load in loads] == [[], [], []]
    for load in loads:
        changes = [one for one, next_ in zip(load.versions, load.versions[1:], strict=False) if one != next_]
        assert changes == ["1", "2", "1", "2"], "each version answers until the next one does"


def test_the_service_listens_for_this_machine_only(server: Server) -> None:
    """HAProxy's other ports, Ray's, and the inner ones of gRPC are for a firewall; SECURITY.md names them."""
    found = listening(descendants(server.process.pid))
    own = {port for address, port in found if address in ("127.0.0.1", "::1")}
    abroad = {port for address, port in found} - own
    of_block = {port: port % 200 for _, port in found if 20_000 <= port < 30_000}  # see serve/door/isolation.py
    replicas = {port for port, place in of_block.items() if 10 <= place < 105}
    assert replicas and {server.port, server.grpc, *replicas} <= own

    inner = [port for port in abroad & of_block.keys() if of_block[port] == 4 or of_block[port] >= 105]
    assert inner, "Ray binds gRPC's inner ports to every interface"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))  # sends nothing; tells the address that others see
        except OSError:
            pytest.skip("this machine has no other address")
        elsewhere = probe.getsockname()[0]

    async def live(port: int) -> None:
        async with grpc.aio.insecure_channel(f"{elsewhere}:{port}") as channel:
            await channel.unary_unary(f"/{SERVICE}/ServerLive")(b"", timeout=PATIENCE)

    refusals = set()
    for port in inner:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            asyncio.run(live(port))
        refusals.add(caught.value.code())
    assert grpc.StatusCode.PERMISSION_DENIED in refusals, "the others are no ports of our service"


def descendants(process: int) -> set[int]:
    """The process and all that came of it, by the session that they share or by their parents."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found = {process}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def listening(processes: set[int]) -> set[tuple[str, int]]:
    """Addresses and ports that any of these processes listens on (TCP, /proc/net)."""
    sockets = set()
    for process in processes:
        for descriptor in Path(f"/proc/{process}/fd").glob("*"):
            try:
                target = str(descriptor.readlink())
            except OSError:
                continue
            if target.startswith("socket:["):
                sockets.add(target[8:-1])
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                host, _, port = fields[1].partition(":")
                words = np.frombuffer(bytes.fromhex(host), ">u4").astype("<u4").tobytes()
                found.add((socket.inet_ntop(family, words), int(port, 16)))
    return found


def test_a_port_in_use_ends_at_once(server: Server, registry: Registry) -> None:
    port = server.port
    done = subprocess.run(command(registry, port), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and f"127.0.0.1:{port}" in done.stderr and "in use" in done.stderr
