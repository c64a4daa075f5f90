"""What Prometheus scrapes from a replica: counts kept in plain integers, made into metric families when it asks.

| metric | labels | counts |
|---|---|---|
| `tidemill_requests_total` | path, status | requests answered; paths that do not exist count as "other" |
| `tidemill_errors_total` | | those answered with 4xx or 5xx |
| `tidemill_request_duration_seconds` | stage | histogram: `queue` until its batch begins, `compute`, `total` |
| `tidemill_batch_rows` | | histogram of batch sizes; its sum is the number of rows predicted |
| `tidemill_refused_total` | what, reason | requests and versions that were not taken |
| `tidemill_swaps_total` | alias | changes of champion or challenger |
| `tidemill_labels_total` | | labels received as feedback |
| `process_*` | | memory, CPU time, open files of the replica |

and, once `watch` has been told where to look, what `WATCHED` lists.
"""

import logging
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tidemill.ledger.record import Label
from tidemill.serve.hooks.observer import Observer, Refused, Swapped

LOG = logging.getLogger(__name__)

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = tuple(float(2**power) for power in range(15))

PATHS = ("/predict", "/feedback", "/health", "/metrics", "/profile", "/openapi.json", "/docs", "/", "/v2")
"""Paths that count under their own name, as do the protocol's paths under /v2, with `{model}` for the model's name."""
_PROTOCOL = re.compile(
    r"/v2(/health/(live|ready)|/models/[^/]+(/versions/[^/]+)?(/(ready|infer|config|stats))?|/models/stats"
    r"|/repository/index|/repository/models/[^/]+/(load|unload))"
    r"|/inference\.GRPCInferenceService/(Server(Live|Ready|Metadata)"
    r"|Model(Ready|Metadata|Infer|StreamInfer|Config|Statistics)|Repository(Index|ModelLoad|ModelUnload))"
)
_NAMES = re.compile(r"(?<=/models/)(?!stats$)[^/]+(/versions/[^/]+)?")
_ANSWERING = (
    *("/predict", "/v2/models/{model}/infer"),
    *(f"/inference.GRPCInferenceService/{rpc}" for rpc in ("ModelInfer", "ModelStreamInfer")),
)
"""The paths whose answers' durations are the stage `total`; looking at health or metrics would flatter it."""
_REMEMBERED = 500  # paths and statuses; a client may make up names, but cannot fill the memory with them

_Gauge, _Counter = GaugeMetricFamily, CounterMetricFamily
WATCHED: dict[str, tuple[type[Metric], str, str, str | None]] = {
    "queue_rows": (_Gauge, "tidemill_queue_rows", "Rows that wait for the session", None),
    "queue_requests": (_Gauge, "tidemill_queue_requests", "Requests that wait for the session", None),
    "versions": (InfoMetricFamily, "tidemill_version", "The versions in use", "role"),
    "shadow_lag": (_Gauge, "tidemill_shadow_lag_seconds", "Age of the oldest unanswered shadow row", None),
    "shadow_rows": (_Counter, "tidemill_shadow_rows", "A shadow's rows: answered, shed or failed", "outcome"),
    "ledger_lag": (_Gauge, "tidemill_ledger_lag_seconds", "Age of the oldest entry not yet shipped", None),
    "ledger_lost": (_Counter, "tidemill_ledger_lost_records", "Answers that were not recorded", None),
    "ledger_failures": (_Counter, "tidemill_ledger_failures", "How often the shipping process died", None),
    "categories": (_Counter, "tidemill_categories", "Values of categorical columns", "column"),
    "unseen": (_Counter, "tidemill_unseen_categories", "Those that training never had", "column"),
    "observer_failures": (_Counter, "tidemill_observer_failures", "Exceptions that an observer raised", "observer"),
    "observer_dropped": (_Counter, "tidemill_observer_dropped", "Events an observer missed", "observer"),
}
"""Name for `watch` → kind, metric, help, and the label that the keys of a mapping go under."""

Watch = Callable[[], float | Mapping[str, float] | Mapping[str, str]]


class Metrics:
    """The metrics of one replica. `answered` and `batch` are for one thread only, the event loop's: they take no lock.

    observer: counts labels, swaps and refusals; to be attached like any other.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self.observer = Counting()
        self.requests: dict[tuple[str, int], _Cell] = {}
        self.total, self.queue, self.compute = (Buckets(SECONDS) for _ in range(3))
        self.rows = Buckets(ROWS)
        self.watches: dict[str, Watch] = {}
        self._cells: dict[tuple[str, int], _Cell] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Families(self))
        ProcessCollector(registry=self._registry)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """One request's answer has left, `seconds` after the request came. status: HTTP's, for gRPC the like of it."""
        cell = self._cells.get((path, status)) or self._cell(path, status)
        cell.count += 1
        buckets = cell.buckets
        if buckets is not None:
            buckets.counts[bisect_left(SECONDS, seconds)] += 1
            buckets.sum += seconds

    def batch(self, rows: int, requests: int, waited: float, computed: float) -> None:
        """One batch was predicted.

        Args:
            rows, requests: how many it held.
            waited, computed: seconds that its oldest request waited and that the session took; they count once for each
                of its requests, as each of them spent (at most) this time.
        """
        self.rows.counts[bisect_left(ROWS, rows)] += 1
        self.rows.sum += rows
        queue, compute = self.queue, self.compute
        queue.counts[bisect_left(SECONDS, waited)] += requests
        queue.sum += waited * requests
        compute.counts[bisect_left(SECONDS, computed)] += requests
        compute.sum += computed * requests

    def watch(self, name: str, look: Watch) -> None:
        """Ask `look` at every scrape: a number, a number by name (observers), or for `versions` a version by role.

        name: one of `WATCHED`.
        """
        assert name in WATCHED, name
        self.watches[name] = look

    def text(self) -> bytes:
        """All metrics in Prometheus' text format, see `CONTENT_TYPE`."""
        return generate_latest(self._registry)

    def _cell(self, path: str, status: int) -> "_Cell":
        """What a path and status are counted in."""
        label = path_label(path)
        cell = self.requests.get((label, status))
        if cell is None:
            cell = self.requests[label, status] = _Cell(self.total if label in _ANSWERING and status < 400 else None)
        if len(self._cells) < _REMEMBERED:
            self._cells[path, status] = cell
        return cell


class Counting(Observer):
    """Counts what happens seldom enough to go through the observers' thread."""

    def __init__(self) -> None:
        self.labels = 0
        self.swaps: Counter[str] = Counter()
        self.refusals: Counter[tuple[str, str]] = Counter()

    def labelled(self, event: Label) -> None:
        self.labels += 1

    def swapped(self, event: Swapped) -> None:
        self.swaps[event.alias] += 1

    def refused(self, event: Refused) -> None:
        self.refusals[event.what, event.reason] += 1


class _Cell:
    """A count of requests, and the histogram that their durations go to."""

    __slots__ = ("buckets", "count")

    def __init__(self, buckets: "Buckets | None") -> None:
        self.buckets = buckets
        self.count = 0


class Buckets:
    """A histogram. counts: one for each bound, of values up to it and above the one before, and one beyond all."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def cumulative(self) -> list[tuple[str, float]]:
        bounds = [*(str(bound) for bound in self.bounds), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self.counts)), strict=True))


class _Families(Collector):
    """Makes the families at the time of a scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        metrics, seen = self._metrics, self._metrics.observer
        requests = CounterMetricFamily("tidemill_requests", "Requests answered", labels=["path", "status"])
        cells = list(metrics.requests.items())
        for (path, status), cell in cells:
            requests.add_metric([path, str(status)], cell.count)
        yield requests
        errors = sum(cell.count for (_, status), cell in cells if status >= 400)
        yield CounterMetricFamily("tidemill_errors", "Requests answered with 4xx or 5xx", value=errors)
        durations = HistogramMetricFamily(
            "tidemill_request_duration_seconds", "Time of a request, by stage", labels=["stage"]
        )
        for stage in ("queue", "compute", "total"):
            buckets: Buckets = getattr(metrics, stage)
            durations.add_metric([stage], buckets.cumulative(), buckets.sum)
        yield durations
        rows = HistogramMetricFamily("tidemill_batch_rows", "Rows of a batch")
        rows.add_metric([], metrics.rows.cumulative(), metrics.rows.sum)
        yield rows
        refused = CounterMetricFamily("tidemill_refused", "Requests and versions refused", labels=["what", "reason"])
        for labels, count in list(seen.refusals.items()):
            refused.add_metric(labels, count)
        yield refused
        swaps = CounterMetricFamily("tidemill_swaps", "Changes of champion or challenger", labels=["alias"])
        for alias, count in list(seen.swaps.items()):
            swaps.add_metric([alias], count)
        yield swaps
        yield CounterMetricFamily("tidemill_labels", "Labels received as feedback", value=seen.labels)
        for name in list(metrics.watches):
            yield from self._watched(name)

    def _watched(self, name: str) -> Iterator[Metric]:
        family, metric, text, label = WATCHED[name]
        try:
            value: Any = self._metrics.watches[name]()
        except Exception:
            LOG.exception("%s could not be read", metric)  # the other metrics matter all the more
            return
        if label is None:
            yield family(metric, text, value=float(value))  # type: ignore[call-arg]
        elif family is InfoMetricFamily:
            info = InfoMetricFamily(metric, text)
            for role, version in value.items():
                info.add_metric([], {"model": self._metrics.model, "version": version, label: role})
            yield info
        else:
            labelled: Any = family(metric, text, labels=[label])  # type: ignore[call-arg]
            for key, count in value.items():
                labelled.add_metric([key], count)
            yield labelled


def path_label(path: str) -> str:
    """What a path counts as: itself, with the model's name and version taken out, or "other"."""
    if path in PATHS:
        return path
    return _NAMES.sub("{model}", path) if _PROTOCOL.fullmatch(path) else "other"
