"""An attacker's morning: ten thousand wrong requests to a real `tidemill serve`, over HTTP, gRPC and bare sockets.

    python scripts/bench/fuzz.py [--cache FOLDER] [--seed 0] [--bodies 4000] [--examples 120]
    python scripts/bench/fuzz.py --quick

The server runs as users start it, behind HAProxy, with keys and the ledger. First come requests that schemathesis makes
of the served OpenAPI document, each answer held against the document; then mutated bodies, compressed, binary and Arrow
ones among them (parts/mutations.py); gRPC messages with wrong bytes; and bytes that are no HTTP (parts/wire.py). The
mutated bodies come again at the end, when the process has no reason left to grow; and small bodies that stand for much
(multiplying.py), with a bound on memory and on how long /health waits beside each. Afterwards the model's rows must get
the graph's own answers from the same process. Schemathesis is installed into a virtual environment under FOLDER; a
quick run does without it unless it is there.

Of schemathesis' checks three are left out: a deadline of 1e-300 s is a valid request with the answer 504, which we
count ourselves; the document cannot say that `keys` has as many entries as `rows`; and our own key, sent beside a wrong
one, is taken for the wrong one.
"""

import argparse
import json
import random
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import multiplying
import numpy as np
from parts.benchmark import NOT_INSTALLED, Options, Targets, report
from parts.load import Load, request, run
from parts.mutations import INFER, Seeds, message, mutated, requests
from parts.servers import ask, free_port, ours, resident
from parts.small_model import NAME, Model, prepare, probabilities, rows_body
from parts.wire import garbage, send
from peers.catalogue import Peer, install, installed

PORT, GRPC = free_port(), free_port()
SECONDS = 2.0  # for a body to arrive
HANG = 10.0  # seconds without an answer
_AT_ONCE = 8  # connections with bytes that are no HTTP: most of their time they wait
_NONE = ("status_500", "hangs", "restarts", "wrong_errors", "smuggled", "schema_failures", "wrong_afterwards")
TARGETS: Targets = {
    "requests": {"at_least": 10_000},
    **{name: {"at_most": 0} for name in _NONE},
    "memory_growth_mib": {"at_most": 64},
    **multiplying.TARGETS,
}
_TOOL = Peer(title="schemathesis", packages=("schemathesis==4.32.*",), file="")
_LEFT_OUT = "not_a_server_error,positive_data_acceptance,ignored_auth"
_PARSERS = (b"Invalid HTTP request received.", b"<html><body><h1>400 Bad request</h1>")  # uvicorn's and HAProxy's own
_METHODS = ("ModelInfer", "ModelMetadata", "ModelConfig", "ModelReady", "ModelStatistics", "RepositoryIndex")
_FAULTS = ("UNKNOWN", "INTERNAL", "DATA_LOSS")  # gRPC's words for a fault of the server's


@dataclass
class Seen:
    """What came back so far. wrong: answers that were no such answers, a few of them. by: statuses by section."""

    by: dict[str, Counter[str]] = field(default_factory=dict)
    faults: int = 0
    hangs: int = 0
    smuggled: int = 0
    schema_failures: int | None = None  # until schemathesis has run
    wrong: list[str] = field(default_factory=list)

    def answer(self, section: str, status: int | str, wrong: str | None = None) -> None:
        self.by.setdefault(section, Counter())[str(status)] += 1
        self.faults += str(status) in ("500", "502", *_FAULTS)
        if wrong:
            self.wrong.append(f"{section}: {wrong[:400]}")

    @property
    def requests(self) -> int:
        return sum(counter.total() for counter in self.by.values())


def main() -> None:
    parser = Options(__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bodies", type=int, default=4000, help="mutated requests, sent twice (default: %(default)s)")
    parser.add_argument("--examples", type=int, default=120, help="for each operation (default: %(default)s)")
    parser.add_argument("--warm", type=float, default=5.0, help="seconds of right requests at first")
    parser.add_argument("--each", type=float, default=2.0, help="seconds for each multiplying body")
    chosen = parser.chosen(bodies=100, examples=2, warm=0.5, each=0.2)
    model = prepare(chosen.cache / "model")
    if not chosen.quick:
        install(_TOOL, chosen.cache / "schemathesis")
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as place:
        figures = attack(model, chosen, Path(place))
    for text in figures["wrong"]:
        print(text)
    report(__file__, figures, TARGETS)


def attack(model: Model, chosen: argparse.Namespace, place: Path) -> dict[str, Any]:
    registry = place / "registry"  # one that may be told to unload
    shutil.copytree(model.registry, registry)
    model = replace(model, elsewhere=registry)
    key = _key(place / "keys.json")
    first = request("/predict", rows_body(model.rows[:1]), X_API_Key=key)
    settings = [f"ledger.path={place}/ledger", f"keys={place}/keys.json", f"limits.seconds={SECONDS}"]
    seen = Seen()
    with ours(model, PORT, first, place / "log", *settings, "--grpc-port", str(GRPC)) as server:
        seeds = Seeds(model.rows, _warm(model, key, chosen.warm))
        first_replicas, before = server.replicas(), {}
        bodies = list(requests(seeds, chosen.seed, chosen.bodies, X_API_Key=key))
        steps: dict[str, Callable[[], None]] = {
            "schemathesis": lambda: _schemathesis(chosen, place, key, seen),
            "bodies": lambda: _bodies(bodies, "bodies", seen),
            "memory": lambda: before.update({pid: resident(pid) for pid in server.replicas()}),
            "grpc": lambda: _grpc(model, key, chosen.seed, chosen.bodies // 4, seen),
            "wire": lambda: _wire(model, key, chosen.seed, chosen.bodies // 10, seen),
            "unloaded": lambda: _unloaded(first, key, seen),
            "bodies again": lambda: _bodies(bodies, "bodies again", seen),
        }
        for name, step in steps.items():
            step()
            print(name, dict(seen.by.get(name, {})), flush=True)
        after = {pid: resident(pid) for pid in server.replicas()}
        multiplied = multiplying.figures(multiplying.measured(server, (PORT, GRPC), key, chosen.each))
        restarts = len({*first_replicas} ^ after.keys())
        found = _figures(seen, before, after) | multiplied
        return found | {"restarts": restarts, "wrong_afterwards": _wrong(model, key)}


def _key(file: Path) -> str:
    from tidemill.serve.door import key_file
    from tidemill.serve.door.keys import Scope

    return key_file.create(file, "fuzz", list(Scope))[1]


def _warm(model: Model, key: str, seconds: float) -> list[str]:
    """Ids of answers, after enough of them that memory no longer grows by itself."""
    asked = [request("/predict", rows_body([row]), X_API_Key=key) for row in model.rows]
    run(Load(port=PORT, requests=asked, connections=8, seconds=seconds, warmup=0.0))
    content = json.loads(ask(PORT, request("/predict", rows_body(model.rows[:50]), X_API_Key=key))[1])
    return [each["id"] for each in content["predictions"]] + ["0-0", "ffffffffffff1-99"]


def _schemathesis(chosen: argparse.Namespace, place: Path, key: str, seen: Seen) -> None:
    """Its report in the form HAR has every request and answer; its exit status and its report say what failed."""
    if not installed(chosen.cache / "schemathesis"):
        print(f"schemathesis: {NOT_INSTALLED}")
        return
    har, outcomes = place / "har.json", place / "report.json"
    url = f"http://127.0.0.1:{PORT}/openapi.json"
    command = [str(chosen.cache / "schemathesis/bin/schemathesis"), "--no-color", "run", url, "-H", f"X-API-Key: {key}"]
    command += ["--seed", str(chosen.seed), "--max-examples", str(chosen.examples), "--exclude-checks", _LEFT_OUT]
    command += ["--phases", "examples,coverage,fuzzing", "--request-timeout", str(HANG), "--continue-on-failure"]
    command += ["--exclude-operation-id", "repositoryUnload", "--no-shrink", "--report", "har,json"]
    command += ["--report-har-path", str(har), "--report-json-path", str(outcomes)]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=1800, check=False)
    if not outcomes.exists():
        raise SystemExit(f"schemathesis did not run: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    for entry in json.loads(har.read_text())["log"]["entries"]:
        seen.answer("schemathesis", entry["response"]["status"])
    outcome = json.loads(outcomes.read_text())
    seen.schema_failures = outcome["test_cases"]["unique_failures"] + outcome["test_cases"]["errored"]
    if outcome["test_cases"]["unique_failures"]:
        print(done.stdout[done.stdout.find("FAILURES") :][:6000])


def _bodies(asked: Sequence[bytes], section: str, seen: Seen) -> None:
    def on_answer(number: int, status: int, head: bytes, body: bytes, latency: float) -> None:
        if status == 0:
            seen.hangs += head == b"timeout"
            seen.answer(
                "bodies", head.decode(), None if head == b"timeout" else f"no answer to {_told_apart(asked[number])}"
            )
        else:
            fault = _fault(asked[number], status, head, body)
            seen.answer(section, status, fault and f"{_told_apart(asked[number])} → {fault}")

    load = Load(port=PORT, requests=list(asked), connections=4, seconds=1800.0, warmup=0.0, count=len(asked))
    run(replace(load, timeout=HANG), on_answer)


def _told_apart(asked: bytes) -> str:
    """The request's first line and its body, without the key."""
    head, _, body = asked.partition(b"\r\n\r\n")
    return f"{head.splitlines()[0]!r} {body[:150]!r}"


def _fault(asked: bytes, status: int, head: bytes, body: bytes) -> str | None:
    """What is wrong with an error's answer, which is one string on the protocol's paths, and rule and all elsewhere."""
    if status < 400:
        return None
    if status in (500, 502):
        return f"{status} {body!r}"
    if status in (429, 503) and b"retry-after:" not in head.lower():
        return f"{status} without Retry-After: {body!r}"
    if status == 400 and body.startswith(_PARSERS):  # the head is no HTTP, so that no application saw it
        return None
    path = asked.split(b" ", 2)[1].split(b"?")[0]
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return f"{status} {body[:200]!r}"
    if path.startswith(b"/v2") and isinstance(error, str):
        return None
    keys = {"rule", "observed", "remedy"}
    right = isinstance(error, dict) and error.keys() == keys and all(isinstance(each, str) for each in error.values())
    return None if right else f"{status} {body[:200]!r}"


def _grpc(model: Model, key: str, seed: int, count: int, seen: Seen) -> None:
    """Messages with wrong bytes, and with right bytes and wrong values. Ray's gRPC, HAProxy's HTTP/2, our servicer."""
    import grpc  # type: ignore[import-untyped]

    chance = random.Random(seed)
    right = [message(model.rows[at : at + 3]) for at in range(0, 60, 3)]
    metadata = (("x-api-key", key), ("application", "tidemill"))
    with grpc.insecure_channel(f"127.0.0.1:{GRPC}") as channel:
        for number in range(count):
            rpc = "ModelInfer" if number % 4 else chance.choice(_METHODS)
            whole = chance.choice(right)
            sent = whole if number % 50 == 0 else mutated(whole, chance)
            call = channel.unary_unary(f"/inference.GRPCInferenceService/{rpc}")
            try:
                call(sent, timeout=HANG, metadata=metadata if chance.random() < 0.95 else ())
                seen.answer("grpc", "OK")
            except grpc.RpcError as error:
                name = error.code().name
                seen.hangs += name == "DEADLINE_EXCEEDED"
                seen.answer("grpc", name, f"{error.details()} to {sent!r}" if name in _FAULTS else None)


def _wire(model: Model, key: str, seed: int, count: int, seen: Seen) -> None:
    sent = garbage(rows_body(model.rows[:1]), f"X-API-Key: {key}\r\n", seed, count)
    with ThreadPool(_AT_ONCE) as pool:
        outcomes = pool.map(lambda each: send(each, PORT, HANG), sent)
    for outcome in outcomes:
        seen.hangs += outcome.hung
        seen.smuggled += outcome.smuggled
        for status in outcome.statuses or ("closed or waiting",):
            seen.answer("wire", status, f"{outcome.name}: {status}" if status in (500, 502) else None)


def _unloaded(first: bytes, key: str, seen: Seen) -> None:
    """Everything while the model is unloaded, which ends."""
    paths = ("/predict", "/feedback", INFER, f"/v2/models/{NAME}/config", "/v2/health/ready", "/health")
    _told("unload", key, seen)
    for path in paths * 20:
        for asked in (first.replace(b"/predict", path.encode(), 1), request(path, b"", method="GET", X_API_Key=key)):
            status, body = ask(PORT, asked)
            seen.answer("unloaded", status, f"{path}: {body!r}" if status in (0, 500, 502) else None)
    _told("load", key, seen)


def _told(verb: str, key: str, seen: Seen) -> None:
    status, body = ask(PORT, request(f"/v2/repository/models/{NAME}/{verb}", b"", X_API_Key=key))
    seen.answer("unloaded", status, None if status == 200 else f"{verb}: {body!r}")


def _wrong(model: Model, key: str) -> int:
    """Rows that do not get the graph's own answers."""
    expected = model.expected("1")
    status, body = ask(PORT, request("/predict", rows_body(model.rows), X_API_Key=key))
    if status != 200:
        return len(expected)
    return int((~np.isclose(probabilities(body), expected, rtol=1e-5, atol=1e-6)).any(axis=1).sum())


def _figures(seen: Seen, before: dict[int, int], after: dict[int, int]) -> dict[str, Any]:
    grown = max((after[pid] - size for pid, size in before.items() if pid in after), default=0)
    return {
        "requests": seen.requests,
        "status_500": seen.faults,
        "hangs": seen.hangs,
        "wrong_errors": len(seen.wrong),
        "smuggled": seen.smuggled,
        "schema_failures": seen.schema_failures,
        "memory_growth_mib": round(grown / 2**20, 1),
        "memory_mib": round(max(after.values(), default=0) / 2**20, 1),
        "statuses": {name: dict(counter) for name, counter in seen.by.items()},
        "wrong": seen.wrong[:20],
    }


if __name__ == "__main__":
    main()
