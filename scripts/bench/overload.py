"""Twice the load that `tidemill serve` can sustain, for a minute: what is accepted, what is refused, and the memory.

    python scripts/bench/overload.py [--cache FOLDER] [--seconds 60] [--rows 64] [--connections 1024]
    python scripts/bench/overload.py --quick

The sustainable load is what a closed loop gets through. Then requests come in an open loop, at half of it and at twice
it; latencies count from when a request was due. Requests of 64 rows fill the queue of rows; with `--rows 1` it is the
server's HTTP that is full. What is measured at twice the load is held against the same at half of it, before and after,
and the second half of the time against the first. A quick run lasts some seconds.
"""

import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from parts.benchmark import Options, Targets, report
from parts.load import Load, Result, request, run
from parts.servers import Server, free_port, ours, resident
from parts.small_model import prepare, rows_body

PORT = free_port()
TARGETS: Targets = {
    "accepted_p99_growth": {"at_most": 1.5},
    "refused_p99_ms": {"at_most": 50.0},
    "memory_growth": {"at_most": 0.05},
    "other_answers": {"at_most": 0},
    "afterwards_failed": {"at_most": 0},
}
SAMPLE = 0.5  # seconds


class Memory(threading.Thread):
    """Samples the memory of the server's processes until `stop`: bytes by name, one list each."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self._stopped = threading.Event()
        self._processes = {pid: name for pid, name in server.tree().items() if _watched(name)}
        self.samples: dict[str, list[int]] = {name: [] for name in self._processes.values()}

    def run(self) -> None:
        while not self._stopped.wait(SAMPLE):
            for pid, name in self._processes.items():
                self.samples[name].append(resident(pid))

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def growth(self) -> dict[str, float]:
        """By how much each grew from the second fifth of the time to the last."""
        found = {}
        for name, values in self.samples.items():
            fifth = max(1, len(values) // 5)
            found[name] = _mean(values[-fifth:]) / _mean(values[fifth : 2 * fifth]) - 1
        return found


def _watched(name: str) -> bool:
    return name.startswith("ray::ServeReplica") or "haproxy" in name


def _mean(values: list[int]) -> float:
    return sum(values) / max(1, len(values))


def main() -> None:
    parser = Options(__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--others", type=float, default=10.0, help="seconds of the loads before and after")
    parser.add_argument("--rows", type=int, default=64, help="of a request (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=1024, help="of the open loops (default: %(default)s)")
    chosen = parser.chosen(seconds=3.0, others=1.0, connections=128)
    model = prepare(chosen.cache / "model")
    starts = range(0, len(model.rows), chosen.rows)
    requests = [request("/predict", rows_body(model.rows[at : at + chosen.rows])) for at in starts]
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as place:
        log = Path(place) / "log"
        with ours(model, PORT, requests[0], log, f"ledger.path={place}/ledger") as server:
            load: dict[str, Any] = {"port": PORT, "requests": requests}
            closed = run(Load(**load, seconds=chosen.others, connections=32))
            open_loop = {**load, "connections": chosen.connections}
            calm = run(Load(**open_loop, seconds=chosen.others, rate=closed.rate / 2))
            memory = Memory(server)
            memory.start()
            halves, unmarked, seen = overload(Load(**open_loop, seconds=chosen.seconds, rate=2 * closed.rate))
            memory.stop()
            after = run(Load(**open_loop, seconds=chosen.others, rate=closed.rate / 2))
    show(closed, calm, seen, after, halves, unmarked, memory)


def overload(load: Load) -> tuple[list[float], int, Result]:
    """p99 of accepted answers in each half (ms), how many 503 named no Retry-After, and the whole result."""
    halves: list[list[float]] = [[], []]
    middle = time.perf_counter() + load.warmup + load.seconds / 2
    unmarked = 0

    def on_answer(number: int, status: int, head: bytes, body: bytes, latency: float) -> None:
        nonlocal unmarked
        if status == 200:
            halves[time.perf_counter() > middle].append(latency)
        elif b"retry-after:" not in head.lower():
            unmarked += 1

    result = run(load, on_answer)
    p99 = [sorted(values)[int(0.99 * len(values))] * 1e3 if values else float("inf") for values in halves]
    return p99, unmarked, result


def show(
    closed: Result, calm: Result, over: Result, after: Result, halves: list[float], unmarked: int, memory: Memory
) -> None:
    statuses = Counter(over.statuses)
    sent = statuses.total()
    print(f"{'':28}{'sent/s':>9}{'200/s':>9}{'503/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}")
    lines = {"closed loop, 32": closed, "half of it": calm, "twice it": over, "half of it, afterwards": after}
    for name, found in lines.items():
        total, refused = sum(found.statuses.values()), found.statuses.get("503", 0)
        ms = found.milliseconds()
        rates = f"{total / found.seconds:>9,.0f}{found.rate:>9,.0f}{refused / found.seconds:>9,.0f}"
        print(f"{name:28}{rates}" + "".join(f"{ms.get(key, 0):>9.1f}" for key in ("p50", "p99", "max")))
    refused_ms = over.milliseconds(refused=True)
    print(f"\nrefused under overload: {refused_ms}")
    print(f"statuses under overload: {dict(statuses)}; 503 without Retry-After: {unmarked}")
    for name, values in memory.samples.items():
        peak, last = max(values, default=0) / 2**20, values[-1] / 2**20 if values else 0
        print(f"memory of {name}: {values[0] / 2**20:.0f} MiB at first, {peak:.0f} at most, {last:.0f} at last")
    figures = {
        "sustainable": round(closed.rate, 1),
        "sent": round(sent / over.seconds, 1),
        "accepted": round(over.rate, 1),
        "accepted_ms": over.milliseconds(),
        "accepted_p99_growth": round(halves[1] / halves[0], 3),
        "refused_p99_ms": refused_ms.get("p99"),
        "refused_ms": refused_ms,
        "memory_growth": round(max(memory.growth().values()), 4),
        "other_answers": unmarked + sent - statuses["200"] - statuses["503"],
        "afterwards_failed": after.failed,
        "statuses": dict(statuses),
    }
    report(__file__, figures, TARGETS)


if __name__ == "__main__":
    main()
