"""Counts and durations of one version's inferences, as Triton's statistics extension reports them."""

import time
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class _Duration:
    count: int = 0
    ns: int = 0

    def add(self, ns: int, count: int = 1) -> None:
        self.count += count
        self.ns += ns

    def document(self) -> dict[str, int]:
        return {"count": self.count, "ns": self.ns}


class Statistics:
    """What one version has done since it was loaded. Call it from one thread.

    All durations are nanoseconds. The compute durations of a batch count for each of its requests, as all of them
    waited for it.
    """

    def __init__(self) -> None:
        self._last = self._inferences = self._executions = 0
        self._success, self._fail, self._queue, self._infer = (_Duration() for _ in range(4))
        self._batches: dict[int, _Duration] = {}

    def executed(self, rows: int, requests: int, run: int) -> None:
        """One batch of `requests` requests that were answered, with `rows` rows in all, was run."""
        self._executions += 1
        self._inferences += rows
        self._infer.add(run * requests, requests)
        size = rows if rows < 16 else 1 << (rows - 1).bit_length()  # a bounded number of entries
        self._batches.setdefault(size, _Duration()).add(run)

    def succeeded(self, waited: int, whole: int) -> None:
        """One request was answered: `waited` in queues, of `whole` from its arrival to its answer."""
        self._queue.add(waited)
        self._success.add(whole)
        self._last = time.time_ns()

    def failed(self, whole: int) -> None:
        """One request for this version was refused or failed."""
        self._fail.add(whole)
        self._last = time.time_ns()

    def document(self, model: str, version: str) -> dict[str, Any]:
        """One entry of `model_stats`. Batches of 16 rows and more are counted under the next power of two."""
        return {
            "name": model,
            "version": version,
            "last_inference": self._last // 1_000_000,
            "inference_count": self._inferences,
            "execution_count": self._executions,
            "inference_stats": {
                "success": self._success.document(),
                "fail": self._fail.document(),
                "queue": self._queue.document(),
                **_compute(self._infer),
                "cache_hit": _Duration().document(),
                "cache_miss": _Duration().document(),
            },
            "batch_stats": [{"batch_size": size, **_compute(run)} for size, run in sorted(self._batches.items())],
        }


def _compute(run: _Duration) -> dict[str, dict[str, int]]:
    """The specification has three stages; reading and writing happen outside of a batch here, and count as no time."""
    none = {"count": run.count, "ns": 0}
    return {"compute_input": none, "compute_infer": run.document(), "compute_output": none}
