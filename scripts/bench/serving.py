"""Requests per second and latencies of `tidemill serve` against other servers of the same ONNX file, on this machine.

    python scripts/bench/serving.py [--cache FOLDER] [--peers bare,triton,…] [--seconds 6] [--repetitions 3]
    python scripts/bench/serving.py --quick

Raw-column JSON to a small perceptron (parts/small_model.py). Each server runs alone, is started anew in every
repetition, and must give ONNX Runtime's own answers before it is measured; the medians over the repetitions count. The
load comes from one process (parts/load.py), and all share the same cores. Peers are installed into virtual environments
under FOLDER, which takes some minutes once; one that cannot be installed or started stands in the table with the
reason, and then the targets are not met. The request ledger of ours is on, but in the line that says off; each kind of
load begins when what the one before left has been shipped, and warms up until its own records are: so each pays for its
own, all the time. A quick run takes half a second for each load, and only the peers that lie under FOLDER already.
"""

import argparse
import os
import re
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from parts.benchmark import NOT_INSTALLED, Options, Targets, report
from parts.load import Load, request, run
from parts.servers import Server, ServerError, ask, free_port, ours, started
from parts.small_model import Model, Rows, arrow_body, prepare, probabilities, rows_body
from peers.catalogue import PEERS, install, installed

PORT = free_port()
SHIPPED = 120.0  # seconds
OURS, OFF = "ours", "ours, ledger off"
NO_LEDGER = "ledger.path=null"
ARROW = "application/vnd.apache.arrow.stream"
TITLES = {OURS: "tidemill", OFF: "tidemill, ledger off"} | {name: peer.title for name, peer in PEERS.items()}


@dataclass(frozen=True)
class Scenario:
    """How many rows a request has, over how many connections, and for which servers; none given: for all."""

    name: str
    rows: int
    connections: int
    servers: tuple[str, ...] = ()
    arrow: bool = False


SCENARIOS = (
    Scenario("1 row × 32", 1, 32),
    Scenario("1 row × 1", 1, 1, (OURS, "bare")),
    Scenario("64 rows × 8", 64, 8, (OURS, "bare")),
    Scenario("64 rows × 8, Arrow", 64, 8, (OURS,), arrow=True),
)
MAIN, SINGLE, MANY, BULK = (scenario.name for scenario in SCENARIOS)
TARGETS: Targets = {
    "of_bare": {"at_least": 0.8},
    "over_triton": {"at_least": 2.0},
    "over_mlserver": {"at_least": 3.0},
    "over_litserve": {"at_least": 4.0},
    "over_bentoml": {"at_least": 4.0},
    "over_ray": {"at_least": 15.0},
    "rows_of_bare": {"at_least": 0.8},
    "arrow_rows_of_bare": {"at_least": 0.9},
    "ledger_on_of_off": {"at_least": 0.9},
    "p50_ms_of_one_connection": {"at_most": 0.4},
    "p99_of_the_lowest_peer": {"at_most": 1.0},
    "failed": {"at_most": 0},
}


@dataclass
class Measured:
    """One server's figures by scenario, one entry a repetition, or why there are none."""

    rates: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    p50: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    p99: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    server_us: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    parts_us: list[dict[str, float]] = field(default_factory=list)
    failed: int = 0
    ready: list[float] = field(default_factory=list)
    reason: str | None = None


def main() -> None:
    parser = Options(__doc__)
    parser.add_argument("--peers", default=",".join(PEERS), help="of %(default)s")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--steady", type=float, default=8.0, help="of load, until what is recorded is also shipped")
    chosen = parser.chosen(seconds=0.5, repetitions=1, steady=0.5)
    peers = [name for name in chosen.peers.split(",") if name]
    if unknown := set(peers) - set(PEERS):
        parser.error(f"no such peer: {', '.join(sorted(unknown))}")
    print("Preparing the model and the peers …", flush=True)
    model = prepare(chosen.cache / "model")
    measured = {name: Measured() for name in (OURS, OFF, *peers)}
    if chosen.quick:
        measured[OFF].reason = "a quick run starts ours once"
    for name in peers:
        if chosen.quick and not installed(chosen.cache / name):
            measured[name].reason = NOT_INSTALLED
        else:
            _explained(measured[name], partial(install, PEERS[name], chosen.cache / name))
    for repetition in range(chosen.repetitions):
        for name, found in measured.items():
            if found.reason is None:
                print(f"repetition {repetition + 1}: {TITLES[name]}", flush=True)
                step = partial(measure, name, found, model, chosen)
                _explained(found, step) if name in PEERS else step()
    figures = compare(measured)
    show(measured, figures)


def _explained(found: Measured, step: Callable[[], None]) -> None:
    try:
        step()
    except ServerError as error:
        found.reason = str(error)
        print(f"  {error}", flush=True)


def measure(name: str, found: Measured, model: Model, chosen: argparse.Namespace) -> None:
    """Start the server, compare its answers with ONNX Runtime's, and put it under each scenario's load."""
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as place:
        first = _request(name, model.rows[:1])
        with _server(name, model, first, chosen, Path(place)) as server:
            found.ready.append(server.ready_seconds)
            for scenario in SCENARIOS:
                if name not in (scenario.servers or (name,)) or (name == OFF and scenario.name != MAIN):
                    continue
                requests = [
                    _request(name, model.rows[at : at + scenario.rows], scenario.arrow)
                    for at in range(0, len(model.rows), scenario.rows)
                ]
                if name == OURS:
                    _shipped(server.port)
                _check(server.port, requests, scenario, model)
                load = Load(
                    port=server.port,
                    requests=requests,
                    connections=scenario.connections,
                    seconds=chosen.seconds,
                    warmup=chosen.steady if name == OURS else Load.warmup,
                )
                _measure(server, load, scenario, found)


def _measure(server: Server, load: Load, scenario: Scenario, found: Measured) -> None:
    before = server.cpu_seconds()
    result = run(load)
    sent = max(1.0, (load.warmup + load.seconds) / load.seconds * len(result.accepted))
    names = server.tree()
    parts: dict[str, float] = defaultdict(float)
    for pid, seconds in server.cpu_seconds().items():
        parts[_part(names.get(pid, ""))] += (seconds - before.get(pid, 0.0)) / sent * 1e6
    if scenario.name == MAIN:
        found.parts_us.append({name: round(microseconds, 1) for name, microseconds in parts.items()})
    milliseconds = result.milliseconds()
    found.rates[scenario.name].append(result.rate * scenario.rows)
    found.p50[scenario.name].append(milliseconds.get("p50", float("inf")))
    found.p99[scenario.name].append(milliseconds.get("p99", float("inf")))
    found.server_us[scenario.name].append(sum(parts.values()))
    found.failed += result.failed


def _shipped(port: int) -> None:
    """Wait until the ledger's records are in its tables: none is as old as the last request is."""
    end = time.monotonic() + SHIPPED
    while time.monotonic() < end:
        time.sleep(0.5)
        _, text = ask(port, request("/metrics", b"", method="GET"))
        lag = re.search(rb"^tidemill_ledger_lag_seconds(?:{.*})? (\S+)", text, re.MULTILINE)
        if lag and float(lag[1]) < 0.5:
            return
    raise ServerError(f"its records were not shipped within {SHIPPED:.0f} s")


def _part(process: str) -> str:
    """What of a server's processes a process belongs to."""
    parts = {"ServeReplica": "replica", "HAProxyManager": "haproxy's manager", "haproxy": "haproxy"}
    return next((part for name, part in parts.items() if name in process), "rest")


def _server(
    name: str, model: Model, first: bytes, chosen: argparse.Namespace, place: Path
) -> AbstractContextManager[Server]:
    log = place / "log"
    if name not in (OURS, OFF):
        return _peer(name, model, first, chosen.cache, log)
    ledger = [NO_LEDGER] if name == OFF else [f"ledger.path={place}/ledger"]
    return ours(
        model, PORT, first, log, *ledger, *(["ledger.ship_seconds=0.5"] if chosen.quick and name == OURS else [])
    )


@contextmanager
def _peer(name: str, model: Model, first: bytes, cache: Path, log: Path) -> Iterator[Server]:
    peer, place = PEERS[name], cache / name
    paths = {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "PLAN": str(model.plan)}
    command = peer.start(place, model.plan, PORT)
    here = Path(__file__).with_name("peers")
    with started(command, PORT, first, log, folder=here, **paths, **peer.environment) as server:
        yield server


def _request(name: str, rows: Rows, arrow: bool = False) -> bytes:
    if arrow:
        return request("/predict", arrow_body(rows), content=ARROW, Accept=ARROW)
    if name in (OURS, OFF):
        return request("/predict", rows_body(rows))
    return request(PEERS[name].path, PEERS[name].body(rows))


def _check(port: int, requests: list[bytes], scenario: Scenario, model: Model) -> None:
    """Raises ServerError where an answer is not the graph's own."""
    expected = model.expected("1")
    for number in (0, len(requests) - 1):
        status, body = ask(port, requests[number])
        wanted = expected[number * scenario.rows : (number + 1) * scenario.rows]
        if status != 200:
            raise ServerError(f"{scenario.name}: it answers {status}: {body[:300]!r}")
        if not np.allclose(probabilities(body), wanted, rtol=1e-5, atol=1e-6):
            raise ServerError(f"{scenario.name}: its answers are not the graph's own")


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None


def compare(measured: dict[str, Measured]) -> dict[str, float | None]:
    """The figures that have targets, and ratios to all peers; None where a server could not be measured."""
    rate = {name: _median(found.rates[MAIN]) for name, found in measured.items()}
    p99 = [value for name, found in measured.items() if name in PEERS and (value := _median(found.p99[MAIN]))]
    own, bare = measured[OURS], measured.get("bare", Measured())

    def ratio(over: float | None, under: float | None) -> float | None:
        return round(over / under, 3) if over and under else None

    rows = _median(bare.rates[MANY])
    single = _median(own.p50[SINGLE])
    return {
        "of_bare": ratio(rate[OURS], rate.get("bare")),
        **{f"over_{name}": ratio(rate[OURS], rate.get(name)) for name in PEERS if name != "bare"},
        "rows_of_bare": ratio(_median(own.rates[MANY]), rows),
        "arrow_rows_of_bare": ratio(_median(own.rates[BULK]), rows),
        "ledger_on_of_off": ratio(rate[OURS], rate[OFF]),
        "p50_ms_of_one_connection": single and round(single, 3),
        "p99_of_the_lowest_peer": ratio(_median(own.p99[MAIN]), min(p99, default=None)),
        "failed": sum(found.failed for found in measured.values()),
    }


def show(measured: dict[str, Measured], figures: dict[str, float | None]) -> None:
    print(f"\n{'':28}{'requests':>20}{'rows/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'server µs/request':>19}")
    for scenario in SCENARIOS:
        for name, found in measured.items():
            if found.rates[scenario.name]:
                columns = (found.rates, found.p50, found.p99, found.server_us)
                rate, p50, p99, used = (_median(column[scenario.name]) for column in columns)
                line = f"{rate:>10,.0f}{p50:>9.2f}{p99:>9.2f}{used:>19,.0f}"
                print(f"{TITLES[name]:28}{scenario.name:>20}{line}" + _failures(found))
    for name, found in measured.items():
        if found.reason:
            print(f"{TITLES[name]:28} not measured: {found.reason}")
    if ready := _median(measured[OURS].ready):
        print(f"\nfrom `tidemill serve` to the first answer: {ready:.1f} s")
    print(
        f"ours, one row: µs of CPU by process {measured[OURS].parts_us}; without the ledger {measured[OFF].parts_us}\n"
    )
    raw: dict[str, Any] = {name: _plain(found) for name, found in measured.items()}
    report(__file__, {**figures, "ready_s": measured[OURS].ready, "servers": raw}, TARGETS)


def _plain(found: Measured) -> dict[str, Any]:
    columns = {"rows_per_s": found.rates, "p50_ms": found.p50, "p99_ms": found.p99, "server_us": found.server_us}
    scenarios = {
        name: {key: [round(each, 3) for each in value] for key, value in columns[name].items()} for name in columns
    }
    return scenarios | {"cpu_us": found.parts_us, "failed": found.failed, "reason": found.reason}


def _failures(found: Measured) -> str:
    return f"   {found.failed} failed" if found.failed else ""


if __name__ == "__main__":
    main()
