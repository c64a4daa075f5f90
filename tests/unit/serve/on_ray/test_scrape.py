from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tidemill.serve.hooks.metrics import Metrics
from tidemill.serve.on_ray.scrape import STALE, Board, merged


def samples(text: bytes) -> dict[Any, float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_every_series_of_every_replica_is_there_once() -> None:
    first, second = Metrics("m"), Metrics("m")
    first.answered("/predict", 200, 0.1)
    second.answered("/predict", 200, 0.1)
    second.answered("/predict", 503, 0.1)
    second.watch("queue_rows", lambda: 4)
    texts = {"a": first.text(), "b": second.text()}
    expected = {
        (name, tuple(sorted([*labels, ("replica", replica)]))): value
        for replica, text in texts.items()
        for (name, labels), value in samples(text).items()
    }
    whole = merged(texts)
    assert samples(whole) == expected and len(expected) > 150
    lines = whole.decode().splitlines()
    types = [line for line in lines if line.startswith("# TYPE")]
    assert len(types) == len(set(types)) and len(set(lines)) == len(lines)
    assert (
        lines.index('tidemill_errors_total{replica="b"} 1.0')
        == lines.index('tidemill_errors_total{replica="a"} 0.0') + 1
    )


def test_label_values_may_hold_anything() -> None:
    text = b'# HELP x_total a {b} "c"\n# TYPE x_total counter\nx_total{p="a } { b",q="\\"} 5"} 1.0\nx_total 2.0 17\n'
    found = samples(merged({'r"\\\n': text}))
    replica = ("replica", 'r"\\\n')
    assert found == {("x_total", (("p", "a } { b"), ("q", '"} 5'), replica)): 1.0, ("x_total", (replica,)): 2.0}


def test_nothing_gives_nothing() -> None:
    assert merged({}) == b"" and merged({"a": b""}) == b""


def test_the_board_forgets_who_tells_nothing() -> None:
    now = [100.0]
    board = Board(clock=lambda: now[0])
    board.put("a", b"1")
    now[0] += STALE
    assert board.exchange("b", b"2") == {"a": b"1", "b": b"2"}
    board.put("b", b"3")
    now[0] += 0.1
    assert board.exchange("c", b"4") == {"b": b"3", "c": b"4"}
