"""Which figures and tables a run has, by name: the page and the tracker show the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from tidemill.evaluation.results import MAIN, Metric
from tidemill.report.content import ReportContent
from tidemill.report.distributions import Distribution, read
from tidemill.report.figures import classification, comparison, data, regression, training
from tidemill.settings import Objective

PER_FIGURE, MOST_DRAWN = 24, 240
"""Distributions that one figure shows, and the whole report."""


@dataclass(frozen=True, slots=True)
class Table:
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def main_metric(content: ReportContent) -> Metric | None:
    """The objective's main metric, or the first there is."""
    wanted = MAIN.get(content.test.evaluation.objective)
    metrics = content.test.evaluation.metrics
    return next((metric for metric in metrics if metric.name == wanted), metrics[0] if metrics else None)


def figures(content: ReportContent) -> dict[str, go.Figure]:
    """Every figure that this run has the values for."""
    found: dict[str, go.Figure] = {}
    columns = drawn(content)
    for start in range(0, len(columns), PER_FIGURE):
        found[f"distributions_{start // PER_FIGURE + 1}"] = data.distributions(columns[start : start + PER_FIGURE])
    if content.history:
        loss = "squared error" if content.test.evaluation.objective is Objective.REGRESSION else "log loss"
        found["learning_curves"] = training.learning_curves(content.history, loss)
        found["learning_rate"] = training.learning_rate(content.history)
    if len(content.test.answered.labels):
        found |= _on_test(content)
    return found | _compared(content)


def drawn(content: ReportContent) -> list[Distribution]:
    """The columns whose distributions are shown, in the table's order; of very many, first what the model leans on."""
    columns = read(content.data.profile)
    leans_on = [importance.column for importance in content.test.evaluation.importance]
    chosen = list(dict.fromkeys(name for name in [content.data.target.name, *leans_on, *columns] if name in columns))
    kept = set(chosen[:MOST_DRAWN])
    return [column for name, column in columns.items() if name in kept]


def tables(content: ReportContent) -> dict[str, Table]:
    """The report's tables as plain rows, for the tracker."""
    evaluation = content.test.evaluation

    def metrics(found: Sequence[Metric], *before: object) -> list[tuple[Any, ...]]:
        return [(*before, m.name, float(m.value), m.lower, m.upper) for m in found]

    ends = ("metric", "value", "lower", "upper")
    findings = [(f.severity, f.check, f.column, f.message, f.rows, f.share, f.remedy) for f in content.data.findings]
    compared = [(b.name, b.comparison) for b in evaluation.baselines]
    return {
        "findings": Table(("severity", "check", "column", "message", "rows", "share", "remedy"), findings),
        "metrics": Table(ends, metrics(evaluation.metrics)),
        "slices": Table(
            ("column", "value", "rows", *ends),
            [row for s in evaluation.slices for row in metrics(s.metrics, s.column, s.value, s.rows)],
        ),
        "baselines": Table(("model", *ends), [row for b in evaluation.baselines for row in metrics(b.metrics, b.name)]),
        "comparisons": Table(
            ("baseline", "loss", "difference", "lower", "upper", "rows"),
            [(name, c.loss, c.difference, c.lower, c.upper, c.rows) for name, c in compared],
        ),
        "importance": Table(
            ("column", "increase", "lower", "upper"),
            [(i.column, i.increase, i.lower, i.upper) for i in evaluation.importance],
        ),
    }


def _on_test(content: ReportContent) -> dict[str, go.Figure]:
    truth, answers, target = content.test.answered.labels, content.test.answered.answers, content.data.target
    calibration = content.test.calibration
    if target.objective is Objective.REGRESSION:
        value = answers["value"].astype(np.float64)
        found = {
            "predicted_against_true": regression.predicted_against_true(truth, value, target.name),
            "errors": regression.residuals(truth, value),
            "errors_by_answer": regression.residuals_by_answer(truth, value, target.name),
        }
        if "lower" in answers:
            asked = calibration.coverage if calibration else None
            found["coverage"] = regression.coverage(
                truth, value, answers["lower"], answers["upper"], asked, content.test.level
            )
        return found
    probabilities = answers["probabilities"].astype(np.float64)
    temperature = calibration.temperature if calibration else None
    ece = next((m.value for m in content.test.evaluation.metrics if m.name == "ece"), None)
    found = {
        "roc": classification.roc(truth, probabilities, target.classes),
        "precision_recall": classification.precision_recall(truth, probabilities, target.classes),
        "reliability": classification.reliability(truth, probabilities, content.test.level, temperature, ece),
        "answers": classification.score_distribution(truth, probabilities, target.classes),
        "confusion": classification.confusion(truth, probabilities, target.classes),
    }
    if len(target.classes) > 2:
        found["by_class"] = classification.by_class(truth, probabilities, target.classes, content.test.level)
    return found


def _compared(content: ReportContent) -> dict[str, go.Figure]:
    evaluation, ours = content.test.evaluation, main_metric(content)
    found: dict[str, go.Figure] = {}
    if evaluation.slices and ours:
        found["slices"] = comparison.slices(evaluation.slices, ours)
    if evaluation.baselines and ours:
        found["baselines"] = comparison.baselines(ours, evaluation.baselines)
        found["differences"] = comparison.differences(evaluation.baselines)
    if evaluation.importance:
        found["importance"] = comparison.importance(evaluation.importance)
    return found
