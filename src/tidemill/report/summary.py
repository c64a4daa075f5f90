"""The top of the report: what the model predicts, how well, against what, and what the gate decided."""

import numpy as np

from tidemill.data.checks.findings import Severity
from tidemill.evaluation.results import Comparison
from tidemill.report import markup, standing
from tidemill.report.content import ReportContent
from tidemill.report.gallery import main_metric
from tidemill.report.markup import Html, join, table, tag
from tidemill.report.numerals import difference, interval, metric_name, share, value_of, with_interval
from tidemill.settings import Objective

TILES = {
    Objective.BINARY: ("auroc", "average_precision", "log_loss", "ece"),
    Objective.MULTICLASS: ("accuracy", "f1", "log_loss", "ece"),
    Objective.REGRESSION: ("rmse", "mae", "r2", "coverage"),
}


def summary(content: ReportContent) -> Html:
    return join(
        part
        for part in (
            tag("h1", content.name),
            tag("div", f"Report of {content.reproduction.created}", class_="soft"),
            _lead(content),
            _verdict(content),
            _standing(content),
            _tiles(content),
            _against(content),
            _warnings(content),
        )
        if part is not None
    )


def _lead(content: ReportContent) -> Html:
    target, rows = content.data.target, content.data.split.rows
    labels = content.test.answered.labels
    inputs = len(content.data.schema.inputs)
    what: tuple[object, ...] = "the value of ", tag("strong", target.name)
    if target.objective is Objective.BINARY:
        part = f", {share(float(np.mean(labels == 1)))} of the test rows" if len(labels) else ""
        what = "whether ", tag("strong", target.name), f" is “{target.classes[1]}”{part}"
    elif target.objective is Objective.MULTICLASS:
        what = f"which of {len(target.classes)} classes ", tag("strong", target.name), " is"
    trained, chosen, tested = (f"{rows.get(split, 0):,}" for split in ("train", "validation", "test"))
    counts = f"Trained on {trained} rows, chosen on {chosen}, tested on {tested}."
    return tag("p", "Predicts ", *what, f", from {inputs} column{'s' if inputs != 1 else ''}. ", counts, class_="lead")


def _verdict(content: ReportContent) -> Html | None:
    verdict = content.verdict
    if verdict is None:
        return None
    in_its_own_box = {*standing.advice(content.test.evaluation.baselines)}
    reasons = [reason for reason in verdict.reasons if reason not in in_its_own_box]
    said = "The gate passed it." if verdict.passed else "The gate refused it."
    return markup.verdict(said, reasons, good=verdict.passed)


def _standing(content: ReportContent) -> Html | None:
    """Where baselines win, each of them with what to do; otherwise the strongest of them."""
    others = content.test.evaluation.baselines
    if lost := standing.advice(others):
        return tag("div", *(tag("p", text) for text in lost), class_="verdict refused")
    return tag("p", standing.sentence(max(others, key=lambda b: b.comparison.difference))) if others else None


def _tiles(content: ReportContent) -> Html:
    by_name = {metric.name: metric for metric in content.test.evaluation.metrics}
    wanted = [by_name[name] for name in TILES.get(content.test.evaluation.objective, ()) if name in by_name]
    shown = wanted or list(content.test.evaluation.metrics)[:4]
    tiles = markup.tiles((metric_name(m.name), value_of(m), interval(m.lower, m.upper) or "no interval") for m in shown)
    note = tag("p", f"On the test split; below each figure its {content.test.level:.0%} interval.", class_="soft")
    return join([tiles, note])


def _against(content: ReportContent) -> Html | None:
    others, main = content.test.evaluation.baselines, main_metric(content)
    if not others or main is None:
        return None
    rows: list[tuple[object, ...]] = [(tag("strong", "this model"), with_interval(main), "", "")]
    for other in others:
        metric = next((m for m in other.metrics if m.name == main.name), None)
        c = other.comparison
        paired = difference(c.difference, c.lower, c.upper)
        rows.append((other.name, with_interval(metric), paired, _judged(c)))
    loss = others[0].comparison.loss.replace("_", " ")
    return table(
        ("", metric_name(main.name), f"difference in {loss}, ours less theirs", "this model is"), rows, numbers=(1, 2)
    )


def _judged(c: Comparison) -> Html:
    if c.upper < 0:
        return tag("span", "better", class_="good")
    if c.lower > 0:
        return tag("span", "worse", class_="bad")
    return tag("span", "not clearly different", class_="soft")


def _warnings(content: ReportContent) -> Html | None:
    count = sum(finding.severity is not Severity.INFO for finding in content.data.findings)
    if not count:
        return None
    text = f"{count} warning{'s' if count != 1 else ''} about the data"
    return tag("p", tag("a", text, href="#data"), ".")
