"""A hundred changes of version under constant load, with bad bundles offered in between: who answered what, and when.

    python scripts/bench/swaps.py [--cache FOLDER] [--swaps 100] [--share 0.4]
    python scripts/bench/swaps.py --quick

Requests come in an open loop at a share of what a closed loop gets through. Each answer's version must have been
desired within a second before it, and its probabilities must be those of that very version. Swaps are promotions and
rollbacks in the registry, by another process. Offered in between: a corrupt, an unsigned and a wrong-schema bundle,
which must be refused by name, and one that takes long to load, which serves once it is ready; until then the one before
it does. The calm is measured half before and half after, for as long together and in the same way: what is rare in a
calm, like the compaction of the ledger, belongs to both. A quick run has five swaps, and offers each bad bundle once.
"""

import bisect
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from parts.benchmark import Options, Targets, report
from parts.load import Load, request, run
from parts.offers import slow, spoil
from parts.servers import free_port, ours
from parts.small_model import NAME, Model, prepare, prepare_other, rows_body

from tidemill.bundle.registry.registry import Registry

PORT = free_port()
WINDOW = 1.0  # seconds until a replica must have followed
WRITTEN = 0.5  # seconds from a change in the registry until the process that made it has written that down
BAD = {"3": "corrupt", "4": "unsigned", "5": "wrong schema", "6": "slow to load"}
SLOW = "6"
TARGETS: Targets = {
    "failed": {"at_most": 0},
    "wrong_version": {"at_most": 0},
    "wrong_answers": {"at_most": 0},
    "bad_taken": {"at_most": 0},
    "p99_during_over_calm": {"at_most": 2.0},
}

Seen = tuple[float, float, int, int, bytes]
"""When it came, its latency, which request, its status and body."""


def main() -> None:
    parser = Options(__doc__)
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--share", type=float, default=0.4, help="of the closed loop's rate (default: %(default)s)")
    parser.add_argument("--pause", type=float, default=1.2, help="seconds between swaps (default: %(default)s)")
    parser.add_argument("--times", type=int, default=2, help="that each bad bundle is offered (default: %(default)s)")
    parser.add_argument("--each", type=float, default=4.0, help="seconds of load for each offer (default: %(default)s)")
    parser.add_argument("--closed", type=float, default=5.0, help="seconds of the closed loop (default: %(default)s)")
    parser.add_argument("--ballast", type=int, default=128, help="MiB of the bundle that takes long to load")
    chosen = parser.chosen(swaps=5, pause=0.3, times=1, each=1.0, closed=0.5, ballast=16)
    model = prepare(chosen.cache / "model")
    requests = [request("/predict", rows_body([row])) for row in model.rows]
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as text:
        place = Path(text)
        fresh = Model(model.folder, place / "registry")
        keys = _keys(place)
        _fill(fresh, model, place, keys[0], chosen.ballast)
        settings = [f"ledger.path={place}/ledger", f"public_key={keys[1]}"]
        with ours(fresh, PORT, requests[0], place / "log", *settings):
            full = run(Load(port=PORT, requests=requests, seconds=chosen.closed)).rate
            load = {"port": PORT, "requests": requests, "rate": chosen.share * full}
            seconds = chosen.swaps * (chosen.pause + 0.1) + chosen.times * len(BAD) * chosen.each
            seen: list[Seen] = []

            def on_answer(number: int, status: int, head: bytes, body: bytes, latency: float) -> None:
                seen.append((time.perf_counter(), latency, number, status, body))

            calm = run(Load(**load, seconds=seconds / 2), on_answer)
            seen.clear()
            log = place / "offers"
            given = {"registry": str(fresh.registry), "port": PORT, "log": str(log), "bad": BAD}
            given |= {"count": chosen.swaps, "pause": chosen.pause, "times": chosen.times}
            command = [sys.executable, "-m", "parts.offers", json.dumps(given)]
            here = Path(__file__).parent
            other = subprocess.Popen(command, cwd=here, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert other.stdin and other.stdout
            other.stdout.readline()
            begun = time.perf_counter()
            other.stdin.write(b"begin\n")
            other.stdin.close()
            during = run(Load(**load, seconds=seconds, warmup=0.0), on_answer)
            code = other.wait(120)
            swapped = seen.copy()
            after = run(Load(**load, seconds=seconds / 2), on_answer)
        events = [json.loads(line) for line in log.read_text().splitlines()]
        expected = {version: fresh.expected(version) for version in ("1", "2", SLOW)}
    if code:
        raise SystemExit(f"the process that swaps ended with {code}")
    figures = judge(swapped, [("1", begun)], events, expected)
    calm.accepted.extend(after.accepted)  # what else the machine does changes with time
    figures |= {"rate": round(chosen.share * full, 1), "answers": len(during.accepted)}
    figures |= {"calm_ms": calm.milliseconds(), "during_ms": during.milliseconds(), "statuses": during.statuses}
    figures["p99_during_over_calm"] = round(figures["during_ms"]["p99"] / figures["calm_ms"]["p99"], 3)
    show(figures, events)


def judge(
    seen: Sequence[Seen], first: list[tuple[str, float]], events: list[dict[str, Any]], expected: dict[str, np.ndarray]
) -> dict[str, Any]:
    """What failed, which version answered without having been desired, whose numbers were another version's."""
    desired: list[tuple[tuple[str, ...], float]] = [((version,), at) for version, at in first]
    for event in events:
        version, at = event["version"], event["at"]
        if event["kind"] == "swap":
            desired.append(((version,), at))
        elif version == SLOW and event["kind"] == "offer":  # until it is held, the one before is right, too
            desired.append(((*desired[-1][0], SLOW), at))
        elif version == SLOW and event["told"] == "held":
            desired.append(((SLOW,), at))
    times = [at for _, at in desired]
    failed = wrong_version = wrong_answers = 0
    versions: Counter[str] = Counter()
    for at, latency, number, status, body in seen:
        if status != 200:
            failed += 1
            continue
        content = json.loads(body)
        version = content["version"]
        versions[version] += 1
        earliest = max(0, bisect.bisect_right(times, at - latency - WINDOW) - 1)
        since = desired[earliest : bisect.bisect_right(times, at + WRITTEN)]
        allowed = {name for names, _ in since for name in names}
        wrong_version += version not in allowed
        given = list(content["predictions"][0]["probabilities"].values())
        numbers = expected.get(version)
        wrong_answers += numbers is None or not np.allclose(given, numbers[number], rtol=1e-5, atol=1e-6)
    told = {event["what"]: event["told"] for event in events if event["kind"] == "answer"}
    taken = [what for what, answer in told.items() if what != BAD[SLOW] and answer in ("held", "nothing")]
    swaps = sum(event["kind"] == "swap" for event in events)
    return {
        "swaps": swaps,
        "failed": failed,
        "wrong_version": wrong_version,
        "wrong_answers": wrong_answers,
        "bad_taken": len(taken),
        "by_version": dict(versions),
        "told": told,
    }


def show(figures: dict[str, Any], events: list[dict[str, Any]]) -> None:
    offers = sum(event["kind"] == "offer" for event in events)
    rate, answers = figures["rate"], figures["answers"]
    print(f"{figures['swaps']} swaps and {offers} offers under {rate:,.0f} requests/s: {answers:,} answers")
    print(f"{'':10}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}")
    for name in ("calm", "during"):
        milliseconds = figures[f"{name}_ms"]
        print(f"{name:10}" + "".join(f"{milliseconds[key]:>9.2f}" for key in ("p50", "p99", "max")))
    for what, told in figures["told"].items():
        print(f"{what}: {told}")
    report(__file__, figures, TARGETS)


def _fill(fresh: Model, model: Model, place: Path, private_key: Path, ballast: int) -> None:
    """Versions 1 and 2 signed, then the bad ones. ballast: MiB."""
    registry = Registry(fresh.registry)
    sources = [model.bundle("1"), model.bundle("2"), model.bundle("2"), model.bundle("2"), prepare_other(model)]
    sources.append(slow(place / "slow", model.bundle("1"), ballast))
    for source in sources:
        version = registry.add(NAME, source)
        if BAD.get(version) != "unsigned":
            registry.sign(NAME, version, private_key)
    spoil(fresh.registry, "3")
    registry.promote(NAME, "1", by="benchmark", reason="the first")


def _keys(place: Path) -> tuple[Path, Path]:
    """A private and a public key."""
    private, public = place / "key.pem", place / "key.pub"
    made = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(private)]
    subprocess.run(made, check=True, capture_output=True)
    shown = ["openssl", "ec", "-in", str(private), "-pubout", "-out", str(public)]
    subprocess.run(shown, check=True, capture_output=True)
    return private, public


if __name__ == "__main__":
    main()
