"""Triton's own clients ask `tidemill serve` and Triton the same, and perf_analyzer measures ours in every protocol.

    python scripts/bench/conformance.py [--cache FOLDER]
    python scripts/bench/conformance.py --quick

Both servers have the same ONNX file. The clients send raw columns as HTTP with JSON, as HTTP with binary tensors, and
by gRPC, compressed too; both servers must give the same metadata and outputs. perf_analyzer is the one in tritonclient
2.51's package; the libraries that it links come from the packages of CUDA's runtime and of pytriton. MLServer answers
the same JSON as a second opinion, and ONNX Runtime by itself as a third. Clients and servers are installed into virtual
environments under FOLDER; a quick run leaves out those that are not there, and may be left with the third alone.
"""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from parts.benchmark import NOT_INSTALLED, Options, Targets, report
from parts.load import request
from parts.servers import ServerError, ask, free_port, ours, started
from parts.small_model import NAME, Model, Rows, prepare, probabilities, rows_body, tensors_body
from peers.catalogue import HERE, PEERS, Peer, install, installed

PORT, GRPC, PEER = free_port(), free_port(), 8454
ROWS = 64  # Triton's largest batch here
CLIENT = Peer(
    title="Triton's clients", packages=("tritonclient[http,grpc]==2.51.0", "nvidia-cuda-runtime-cu12"), file=""
)
WAYS = {
    "http json": ["-i", "http", "--input-tensor-format", "json", "--output-tensor-format", "json"],
    "http binary": ["-i", "http"],
    "grpc": ["-i", "grpc"],
    "grpc streaming": ["-i", "grpc", "--streaming"],
}
METADATA = ("inputs", "outputs")
FURTHEST = 1e-6
TARGETS: Targets = {
    "ways_compared": {"at_least": 8},
    "different_outputs": {"at_most": 0},
    "different_metadata": {"at_most": 0},
    "perf_analyzer_failed": {"at_most": 0},
    "largest_difference": {"at_most": FURTHEST},
}
_RATE = re.compile(r"Throughput: ([\d.]+) infer/sec")


def main() -> None:
    chosen = Options(__doc__).chosen()
    model = prepare(chosen.cache / "model")
    there = set()
    for name, peer in {"client": CLIENT, "triton": PEERS["triton"], "mlserver": PEERS["mlserver"]}.items():
        if not chosen.quick:
            install(peer, chosen.cache / name)
        if installed(chosen.cache / name):
            there.add(name)
        else:
            print(f"{peer.title}: {NOT_INSTALLED}")
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as place:
        show(compare(model, chosen.cache, Path(place), there))


def compare(model: Model, cache: Path, place: Path, there: set[str]) -> dict[str, Any]:
    """there: of client, triton and mlserver, those that are installed."""
    rows = model.rows[:ROWS]
    (place / "rows.json").write_text(json.dumps(rows))
    asks = "client" in there
    theirs = _triton(model, cache, place, rows) if {"client", "triton"} <= there else None
    wanted = {"onnx runtime, http json": model.expected("1")[:ROWS]}
    if "mlserver" in there:
        wanted["mlserver, http json"] = _mlserver(model, cache, place, rows)
    settings = [f"ledger.path={place}/ledger", "--grpc-port", str(GRPC)]
    with ours(model, PORT, request("/predict", rows_body(rows[:1])), place / "log", *settings):
        own = _asked(cache, place, PORT, GRPC) if asks else {}
        status, body = ask(PORT, request(f"/v2/models/{NAME}/infer", tensors_body(rows)))
        measured = {way: _measured(cache, place, rows, way) for way in WAYS} if asks else {}
    if status != 200:
        raise SystemExit(f"ours answers {status}: {body[:300]!r}")
    differences = {name: _furthest(probabilities(body), values) for name, values in wanted.items()}
    differ = 0
    ways = theirs["ways"] if theirs else {}
    for way, answer in ways.items():
        found = own["ways"].get(way)
        differences[way] = _furthest(found["probabilities"], answer["probabilities"]) if found else float("inf")
        differ += found is None or found["label"] != answer["label"]
    differ += sum(not difference <= FURTHEST for difference in differences.values())  # nan is none
    return {
        "ways_compared": len(ways),
        "different_outputs": differ,
        "different_metadata": theirs and sum(own["metadata"][key] != theirs["metadata"][key] for key in METADATA),
        "largest_difference": max(differences.values()),
        "perf_analyzer_failed": sum(rate is None for rate in measured.values()) if asks else None,
        "differences": differences,
        "perf_analyzer_per_s": measured,
    }


def _furthest(found: Any, wanted: Any) -> float:
    one, other = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    return float(np.abs(one - other).max()) if one.shape == other.shape else float("inf")


def _triton(model: Model, cache: Path, place: Path, rows: Rows) -> dict[str, Any]:
    peer, folder = PEERS["triton"], cache / "triton"
    first = request(peer.path, peer.body(rows[:1]))
    command = peer.start(folder, model.plan, PEER)
    environment = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", **peer.environment}
    with started(command, PEER, first, place / "triton.log", folder=HERE, **environment):
        return _asked(cache, place, PEER, PEER + 1)


def _mlserver(model: Model, cache: Path, place: Path, rows: Rows) -> np.ndarray:
    peer, folder = PEERS["mlserver"], cache / "mlserver"
    asked = request(peer.path, peer.body(rows))
    with started(peer.start(folder, model.plan, PEER), PEER, asked, place / "mlserver.log", folder=HERE):
        return probabilities(ask(PEER, asked)[1])


def _asked(cache: Path, place: Path, http: int, grpc: int) -> dict[str, Any]:
    """What the clients get. Raises ServerError where one of them fails."""
    program = [str(cache / "client/bin/python"), str(HERE / "triton_client.py"), str(place / "rows.json")]
    done = subprocess.run([*program, str(http), str(grpc)], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise ServerError(done.stderr[-1000:])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _measured(cache: Path, place: Path, rows: Rows, way: str) -> float | None:
    """Inferences per second; None where perf_analyzer fails. One row a request, from a file."""
    libraries = place / "lib"
    libraries.mkdir(exist_ok=True)
    for name, folder, pattern in (
        ("libcudart.so.12", "client", "lib/python*/site-packages/nvidia/cuda_runtime/lib/libcudart.so.12"),
        ("libb64.so.0d", "triton", "lib/python*/site-packages/nvidia_pytriton.libs/libb64-*.so.0d"),
    ):
        if not (libraries / name).exists():
            (libraries / name).symlink_to(next((cache / folder).glob(pattern)).resolve())
    data = [{name: {"content": [value], "shape": [1]} for name, value in row.items()} for row in rows]
    (place / "data.json").write_text(json.dumps({"data": data}))
    port = PORT if "http" in way else GRPC
    command = [str(cache / "client/bin/perf_analyzer"), "-m", NAME, "-u", f"127.0.0.1:{port}", *WAYS[way]]
    command += ["--input-data", str(place / "data.json"), "--concurrency-range", "4", "-p", "2000", "-s", "50"]
    command += ["--async"] if "streaming" in way else []
    environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    rate = _RATE.search(done.stdout)
    if done.returncode or rate is None:
        print(f"perf_analyzer, {way}: {done.stdout[-1500:]}{done.stderr[-500:]}")
        return None
    return float(rate[1])


def show(figures: dict[str, Any]) -> None:
    for way, difference in figures["differences"].items():
        print(f"{way:24}{difference:>12.2g}")
    for way, rate in figures["perf_analyzer_per_s"].items():
        print(f"perf_analyzer, {way:24}{'failed' if rate is None else f'{rate:,.0f}/s':>10}")
    report(__file__, figures, TARGETS)


if __name__ == "__main__":
    main()
