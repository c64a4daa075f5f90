"""A load generator for HTTP/1.1 on this machine: keep-alive connections on one epoll loop, exact latencies.

    cd scripts/bench
    python -m parts.load http://127.0.0.1:8000/predict BODY.json --connections 32 --seconds 5 [--rate 2000]

Without `--rate` the loop is closed: each connection asks again as soon as it is answered. With it the loop is open:
requests are due at a fixed rate, wait for a free connection where there is none, and their latency counts from when
they were due, so that a server that stalls cannot hide it (no coordinated omission). As a library: `run(Load(…))`.
"""

import argparse
import gc
import json
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from parts.epoll_loop import LOOPBACK, Loop

OnAnswer = Callable[[int, int, bytes, bytes, float], None]
"""(index in `Load.requests`, status, head, body, seconds) of every answer, those of the warm-up too; its time delays
the loop. Status 0: there was no whole answer, and `head` says why."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is sent, and for how long. Ends after `seconds` or `count` answers, whichever is first.

    Args:
        requests: whole HTTP requests, sent in turn (see `request`).
        rate: requests per second of the open loop; None closes the loop.
        warmup: seconds of the same load before counting begins.
        timeout: seconds after which a request counts as failed and its connection is replaced.
    """

    port: int
    requests: list[bytes]
    connections: int = 32
    seconds: float = 5.0
    warmup: float = 1.0
    count: int | None = None
    rate: float | None = None
    timeout: float = 10.0


@dataclass
class Result:
    """What happened after the warm-up. Latencies in seconds: `accepted` of 2xx answers, `refused` of others.

    `statuses` counts answers by status, and what was no answer by "timeout", "connection lost", "connection refused"
    and, in an open loop, "unsent".
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    accepted: "array[float]" = field(default_factory=lambda: array("d"))
    refused: "array[float]" = field(default_factory=lambda: array("d"))

    @property
    def rate(self) -> float:
        """2xx answers per second."""
        return len(self.accepted) / self.seconds if self.seconds else 0.0

    @property
    def failed(self) -> int:
        """Everything that was not answered with 2xx."""
        return sum(self.statuses.values()) - len(self.accepted)

    def milliseconds(self, *, refused: bool = False) -> dict[str, float]:
        """p50, p90, p99, p99.9 and max; empty where there is nothing."""
        values = np.frombuffer(self.refused if refused else self.accepted)
        shares = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
        if not len(values):
            return {}
        return {name: round(float(np.percentile(values, share)) * 1e3, 3) for name, share in shares.items()}

    def figures(self) -> dict[str, object]:
        answered = max(1, sum(self.statuses.values()))
        return {
            "rate": round(self.rate, 1),
            "ms": self.milliseconds(),
            "statuses": self.statuses,
            "client_us_per_request": round(self.cpu_seconds / answered * 1e6, 1),
        }


def request(path: str, body: bytes, *, method: str = "POST", content: str = "application/json", **more: str) -> bytes:
    """A whole HTTP/1.1 request. more: further headers, with _ for -."""
    headers = {"Host": LOOPBACK, "Content-Type": content, "Content-Length": str(len(body))}
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def run(load: Load, on_answer: OnAnswer | None = None) -> Result:
    """Send the load from this thread and return when it is over.

    Raises:
        OSError: nothing listens at the port, at the beginning or for five seconds later on.
        ValueError: what answers there does not speak HTTP/1.1.
    """
    result = Result()
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()  # nothing here makes cycles, and a collection would be a stall of ours counted as the server's
    try:
        Loop(load, on_answer, result).run()
    finally:
        if was_enabled:
            gc.enable()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="on this machine: http://127.0.0.1:PORT/PATH")
    parser.add_argument("bodies", type=Path, nargs="+", help="files that hold a request's body each")
    parser.add_argument("--content", default="application/json", help="content type (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warmup", type=float, default=1.0)
    parser.add_argument("--count", type=int, help="of answers, after which it ends too")
    parser.add_argument("--rate", type=float, help="requests per second of an open loop")
    chosen = parser.parse_args()
    url = urlsplit(chosen.url)
    if url.hostname not in (LOOPBACK, "localhost"):
        parser.error(f"the load is meant for this machine, not for {url.hostname}")
    requests = [request(url.path, file.read_bytes(), content=chosen.content) for file in chosen.bodies]
    given = {name: getattr(chosen, name) for name in ("connections", "seconds", "warmup", "count", "rate")}
    result = run(Load(port=url.port or 80, requests=requests, **given))
    print(f"{result.rate:,.0f} answers/s, {result.failed} failed")
    print("  ".join(f"{name} {value:.2f} ms" for name, value in result.milliseconds().items()))
    print(json.dumps({"bench": "load", "load": given, "figures": result.figures()}))


if __name__ == "__main__":
    main()
