"""kill -9 of a replica every five seconds for a minute, under load: what fails, and what the ledger holds afterwards.

    python scripts/bench/faults.py [--cache FOLDER] [--seconds 60] [--every 5] [--replicas 3] [--share 0.3]
    python scripts/bench/faults.py --quick

Requests come in an open loop at a share of what a closed loop gets through, and each answer's id is kept. Failures are
held against the requests that were under way when a replica was killed. Afterwards every id that came back must stand
in the ledger's table of answers exactly once. A quick run has two replicas, and kills one each second for three
seconds.
"""

import contextlib
import json
import os
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import polars as pl
from parts.benchmark import Options, report
from parts.load import Load, Result, request, run
from parts.servers import Server, free_port, ours, wait_until
from parts.small_model import NAME, prepare, rows_body

from tidemill.ledger import tables
from tidemill.ledger.settings import LedgerSettings

PORT = free_port()
AFTER = 2.0  # seconds after a kill in which a failure counts as its doing
SHIPPED = 90.0  # seconds that the ledger may take to hold everything
TARGETS = {
    "failed_beyond_hands": {"at_most": 0},
    "missing_in_ledger": {"at_most": 0},
    "twice_in_ledger": {"at_most": 0},
    "kills": {"at_least": 1},
}


class Killer(threading.Thread):
    """Kills the replica that has lived longest, every so many seconds, while another one is there to go on."""

    def __init__(self, server: Server, seconds: float, every: float) -> None:
        super().__init__(daemon=True)
        self._server, self._end, self._every = server, time.perf_counter() + seconds, every
        self.kills: list[float] = []
        self.skipped = 0

    def run(self) -> None:
        while time.perf_counter() + self._every < self._end:
            time.sleep(self._every)
            ages = {pid: _started(pid) for pid in self._server.replicas()}
            alive = sorted((pid for pid, begun in ages.items() if begun is not None), key=lambda pid: ages[pid] or 0)
            if len(alive) < 2:
                self.skipped += 1
                continue
            self.kills.append(time.perf_counter())
            with contextlib.suppress(ProcessLookupError):
                os.kill(alive[0], signal.SIGKILL)


def _started(pid: int) -> int | None:
    """Ticks from boot until the process began; None where there is none any more."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return None


def main() -> None:
    parser = Options(__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between kills (default: %(default)s)")
    parser.add_argument("--closed", type=float, default=5.0, help="seconds of the closed loop (default: %(default)s)")
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.3, help="of the closed loop's rate (default: %(default)s)")
    chosen = parser.chosen(seconds=3.0, every=1.0, closed=0.5, replicas=2)
    model = prepare(chosen.cache / "model")
    requests = [request("/predict", rows_body([row])) for row in model.rows]
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as place:
        ledger = LedgerSettings(path=f"{place}/ledger")
        settings = [f"ledger.path={ledger.path}", f"replicas={chosen.replicas}", "cpus=0.5", "ledger.ship_seconds=1"]
        with ours(model, PORT, requests[0], Path(place) / "log", *settings) as server:
            if not wait_until(lambda: len(server.replicas()) == chosen.replicas, 60.0):
                raise SystemExit(f"{len(server.replicas())} of {chosen.replicas} replicas came up")
            full = run(Load(port=PORT, requests=requests, seconds=chosen.closed)).rate
            load = Load(port=PORT, requests=requests, seconds=chosen.seconds, rate=chosen.share * full, warmup=0.0)
            result, killer, ids, spans, failures = under_kills(server, load, chosen.every)
            wait_until(lambda: not missing(ledger, ids), SHIPPED)
        figures = judge(killer.kills, spans, failures) | in_ledger(ledger, ids)
    figures |= {"rate": round(chosen.share * full, 1), "answers": len(ids), "kills": len(killer.kills)}
    figures |= {"kills_skipped": killer.skipped, "ms": result.milliseconds(), "statuses": result.statuses}
    show(figures)


def under_kills(
    server: Server, load: Load, every: float
) -> tuple[Result, Killer, list[str], list[tuple[float, float]], list[tuple[float, float, str]]]:
    """The load while replicas die: ids answered, when each request was under way, and which of them failed and how."""
    ids: list[str] = []
    spans: list[tuple[float, float]] = []
    failures: list[tuple[float, float, str]] = []
    bodies: list[bytes] = []

    def on_answer(number: int, status: int, head: bytes, body: bytes, latency: float) -> None:
        now = time.perf_counter()
        spans.append((now - latency, now))
        if status == 200:
            bodies.append(body)
        else:
            failures.append((now - latency, now, str(status) if status else head.decode()))

    killer = Killer(server, load.seconds, every)
    killer.start()
    result = run(load, on_answer)
    killer.join()
    ids += [json.loads(body)["predictions"][0]["id"] for body in bodies]
    return result, killer, ids, spans, failures


def judge(
    kills: list[float], spans: list[tuple[float, float]], failures: list[tuple[float, float, str]]
) -> dict[str, Any]:
    """Failures by kill against the requests then under way; those that belong to no kill, or are more, are too many."""
    by_kill, beyond = [], 0
    left = list(failures)
    for at in kills:
        hands = sum(begun <= at <= ended for begun, ended in spans)
        mine = [failure for failure in left if at <= failure[1] <= at + AFTER or failure[0] <= at <= failure[1]]
        left = [failure for failure in left if failure not in mine]
        by_kill.append({"under_way": hands, "failed": len(mine)})
        beyond += max(0, len(mine) - hands)
    return {
        "failed": len(failures),
        "failed_beyond_hands": beyond + len(left),
        "by_kill": by_kill,
        "how": sorted({how for _, _, how in failures}),
    }


def missing(ledger: LedgerSettings, ids: list[str]) -> int:
    """How many of the ids are not in the table yet."""
    return pl.DataFrame({"id": ids}).lazy().join(tables.answers(ledger, NAME), on="id", how="anti").collect().height


def in_ledger(ledger: LedgerSettings, ids: list[str]) -> dict[str, int]:
    given = pl.DataFrame({"id": ids})
    counted = tables.answers(ledger, NAME).group_by("id").agg(pl.len().alias("times")).collect()
    found = given.join(counted, on="id", how="left")
    return {
        "missing_in_ledger": found["times"].null_count(),
        "twice_in_ledger": counted.filter(pl.col("times") > 1).height,
        "twice_given": given.height - given["id"].n_unique(),
        "in_ledger": counted.height,
    }


def show(figures: dict[str, Any]) -> None:
    print(f"{figures['kills']} kills under {figures['rate']:,.0f} requests/s: {figures['answers']:,} answers")
    print(f"{'kill':>6}{'under way':>12}{'failed':>9}")
    for number, kill in enumerate(figures["by_kill"], 1):
        print(f"{number:>6}{kill['under_way']:>12}{kill['failed']:>9}")
    print(f"latency: {figures['ms']}; statuses: {figures['statuses']}; failures were {figures['how'] or 'none'}")
    print(f"the ledger holds {figures['in_ledger']:,} answers")
    report(__file__, figures, TARGETS)


if __name__ == "__main__":
    main()
