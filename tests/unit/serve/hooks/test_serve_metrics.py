import logging
import re
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tidemill.ledger.record import Label
from tidemill.serve.hooks.metrics import SECONDS, WATCHED, Metrics, path_label
from tidemill.serve.hooks.observer import Refused, Swapped
from tidemill.serve.hooks.observing import Observers


def samples(metrics: Metrics) -> dict[Any, float]:
    """Every sample as Prometheus' own parser reads it: (name, labels) → value."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def value(metrics: Metrics, name: str, **labels: Any) -> float:
    return samples(metrics)[name, tuple(sorted(labels.items()))]


def test_requests_count_by_path_and_status() -> None:
    metrics = Metrics("m")
    for path, status in (("/predict", 200), ("/predict", 200), ("/predict", 503), ("/v2/models/m/infer", 200)):
        metrics.answered(path, status, 0.001)
    for path in ("/nothing", "/.env", "/v2/models/m/versions/3/infer", "/v2/models/m/infer"):
        metrics.answered(path, 404, 0.001)
    assert value(metrics, "tidemill_requests_total", path="/predict", status="200") == 2
    assert value(metrics, "tidemill_requests_total", path="/predict", status="503") == 1
    assert value(metrics, "tidemill_requests_total", path="/v2/models/{model}/infer", status="200") == 1
    assert value(metrics, "tidemill_requests_total", path="/v2/models/{model}/infer", status="404") == 2
    assert value(metrics, "tidemill_requests_total", path="other", status="404") == 2
    assert value(metrics, "tidemill_errors_total") == 5


def test_clients_cannot_add_series_or_fill_the_memory() -> None:
    metrics = Metrics("m")
    for number in range(2000):
        metrics.answered(f"/{number}", 404, 0.1)
        metrics.answered(f"/v2/models/{number}/infer", 404, 0.1)
    assert value(metrics, "tidemill_requests_total", path="other", status="404") == 2000
    assert value(metrics, "tidemill_requests_total", path="/v2/models/{model}/infer", status="404") == 2000
    assert len(metrics.requests) == 2 and len(metrics._cells) <= 500


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/predict", "/predict"),
        ("/predict/", "other"),
        ("/v2", "/v2"),
        ("/v2/health/ready", "/v2/health/ready"),
        ("/v2/health/x", "other"),
        ("/v2/models/flights", "/v2/models/{model}"),
        ("/v2/models/flights/versions/12", "/v2/models/{model}"),
        ("/v2/models/flights/versions/12/config", "/v2/models/{model}/config"),
        ("/v2/models/ready/ready", "/v2/models/{model}/ready"),
        ("/v2/models/stats", "/v2/models/stats"),
        ("/v2/models/stats/stats", "/v2/models/{model}/stats"),
        ("/v2/models/a/b/infer", "other"),
        ("/v2/repository/index", "/v2/repository/index"),
        ("/v2/repository/models/flights/load", "/v2/repository/models/{model}/load"),
        ("/inference.GRPCInferenceService/ModelInfer", "/inference.GRPCInferenceService/ModelInfer"),
        ("/inference.GRPCInferenceService/Other", "other"),
    ],
)
def test_what_a_path_counts_as(path: str, label: str) -> None:
    assert path_label(path) == label


def test_durations_fall_into_the_right_buckets() -> None:
    metrics = Metrics("m")
    for seconds in (0.0001, 0.00011, 0.3, 99.0):
        metrics.answered("/predict", 200, seconds)
    metrics.answered("/predict", 422, 0.01)
    metrics.answered("/health", 200, 0.01)
    found = samples(metrics)

    def bucket(le: str) -> float:
        return found["tidemill_request_duration_seconds_bucket", (("le", le), ("stage", "total"))]

    assert [bucket(le) for le in ("0.0001", "0.00025", "0.25", "0.5", "10.0", "+Inf")] == [1, 2, 2, 3, 3, 4]
    assert found["tidemill_request_duration_seconds_count", (("stage", "total"),)] == 4, "answers to predictions only"
    assert found["tidemill_request_duration_seconds_sum", (("stage", "total"),)] == pytest.approx(99.30021)


def test_batches() -> None:
    metrics = Metrics("m")
    metrics.batch(rows=1, requests=1, waited=0.0, computed=0.002)
    metrics.batch(rows=64, requests=3, waited=0.004, computed=0.006)
    metrics.batch(rows=100_000, requests=1, waited=0.004, computed=0.006)
    assert value(metrics, "tidemill_batch_rows_bucket", le="1.0") == 1
    assert value(metrics, "tidemill_batch_rows_bucket", le="64.0") == 2
    assert value(metrics, "tidemill_batch_rows_bucket", le="16384.0") == 2
    assert value(metrics, "tidemill_batch_rows_count") == 3 and value(metrics, "tidemill_batch_rows_sum") == 100_065
    for stage, total in (("queue", 0.004 * 4), ("compute", 0.002 + 0.006 * 4)):
        assert value(metrics, "tidemill_request_duration_seconds_count", stage=stage) == 5, "once for each request"
        assert value(metrics, "tidemill_request_duration_seconds_sum", stage=stage) == pytest.approx(total)
    assert value(metrics, "tidemill_request_duration_seconds_bucket", stage="queue", le=str(SECONDS[0])) == 1


def test_what_the_observer_sees_is_counted() -> None:
    metrics = Metrics("m")
    observers = Observers([metrics.observer])
    for event in (
        Label("a-0", "x", 1),
        Label("a-1", "x", 1),
        Swapped("champion", "1", "2", 0.1),
        Refused("request", "overload", 503),
        Refused("request", "overload", 503),
        Refused("version", "golden"),
    ):
        observers.emit(event)
    observers.close()
    assert value(metrics, "tidemill_labels_total") == 2
    assert value(metrics, "tidemill_swaps_total", alias="champion") == 1
    assert value(metrics, "tidemill_refused_total", what="request", reason="overload") == 2
    assert value(metrics, "tidemill_refused_total", what="version", reason="golden") == 1


def test_watched_figures_are_read_at_the_scrape() -> None:
    metrics = Metrics("m")
    queue = [3]
    for name in ("queue_rows", "queue_requests", "shadow_lag", "ledger_lag", "ledger_lost", "ledger_failures"):
        metrics.watch(name, lambda: queue[0])
    metrics.watch("versions", lambda: {"champion": "7", "shadow": "8"})
    metrics.watch("shadow_rows", lambda: {"answered": 9, "shed": queue[0]})
    metrics.watch("observer_failures", lambda: {"Slow": 2})
    metrics.watch("observer_dropped", lambda: {"Slow": queue[0]})
    metrics.watch("categories", lambda: {"city": 20})
    metrics.watch("unseen", lambda: {"city": 19})
    assert set(metrics.watches) == set(WATCHED)
    queue[0] = 5
    for name in ("queue_rows", "queue_requests", "shadow_lag_seconds", "ledger_lag_seconds"):
        assert value(metrics, f"tidemill_{name}") == 5
    assert value(metrics, "tidemill_ledger_lost_records_total") == value(metrics, "tidemill_ledger_failures_total") == 5
    assert value(metrics, "tidemill_shadow_rows_total", outcome="shed") == 5
    assert value(metrics, "tidemill_version_info", model="m", version="7", role="champion") == 1
    assert value(metrics, "tidemill_version_info", model="m", version="8", role="shadow") == 1
    assert value(metrics, "tidemill_observer_failures_total", observer="Slow") == 2
    assert value(metrics, "tidemill_observer_dropped_total", observer="Slow") == 5
    with pytest.raises(AssertionError, match="queue_rowz"):
        metrics.watch("queue_rowz", float)


def test_a_figure_that_cannot_be_read_costs_only_itself(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics("m")
    metrics.watch("ledger_lag", lambda: 1 / 0)
    metrics.watch("queue_rows", lambda: 1)
    with caplog.at_level(logging.ERROR):
        found = samples(metrics)
    assert ("tidemill_queue_rows", ()) in found and ("tidemill_ledger_lag_seconds", ()) not in found
    assert caplog.messages == ["tidemill_ledger_lag_seconds could not be read"]


def test_the_process_is_there() -> None:
    assert value(Metrics("m"), "process_resident_memory_bytes") > 2**20
    assert value(Metrics("m"), "process_cpu_seconds_total") > 0


def test_the_documented_names_are_those_it_has() -> None:
    import tidemill.serve.hooks.metrics as module

    documented = set(re.findall(r"`(tidemill_\w+)`", module.__doc__))
    given = {line.split()[2] for line in Metrics("m").text().decode().splitlines() if line.startswith("# TYPE tide")}
    assert documented == given
