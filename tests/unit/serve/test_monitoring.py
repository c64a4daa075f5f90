"""serving/prometheus.yml and serving/grafana.json speak of metrics that there are."""

import json
import re
from pathlib import Path

import yaml

from tidemill.serve.hooks.metrics import PATHS, WATCHED, Metrics

SERVING = Path(__file__).parents[3] / "serving"


def names() -> set[str]:
    """Of all samples that a replica can give."""
    metrics = Metrics("m")
    for name, (_, _, _, label) in WATCHED.items():
        text = name == "versions"
        metrics.watch(name, lambda label=label, text=text: ({"x": "1"} if text else {"x": 1}) if label else 1)
    metrics.observer.swaps["champion"] += 1
    metrics.observer.refusals["request", "overload"] += 1
    metrics.answered("/predict", 200, 0.1)
    lines = metrics.text().decode().splitlines()
    return {re.split(r"[{ ]", line)[0] for line in lines if not line.startswith("#")}


def test_the_dashboard_uses_metrics_that_there_are() -> None:
    board = json.loads((SERVING / "grafana.json").read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    used = {name for text in expressions for name in re.findall(r"\b(?:tidemill|process)_\w+", text)}
    given = names()
    assert used <= given
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used}
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in given if name.startswith("tidemill_")}
    assert ours <= shown, "and leaves none out"


def test_panels_do_not_overlap() -> None:
    board = json.loads((SERVING / "grafana.json").read_text())
    taken = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])}
        assert not cells & taken and max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_prometheus_asks_where_the_server_answers() -> None:
    config = yaml.safe_load((SERVING / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    assert job["metrics_path"] in PATHS
    assert int(config["global"]["scrape_interval"].removesuffix("s")) >= 5
