"""Ours against baselines, slice against slice, column against column: dots with their intervals."""

from collections.abc import Sequence

import plotly.graph_objects as go

from tidemill.evaluation.results import Baseline, Importance, Metric, Slice
from tidemill.report.figures.panels import dots, line, panel
from tidemill.report.numerals import difference, interval, metric_name, signed, value_of
from tidemill.report.style import label

ROWS = 40
"""Rows that one dot plot shows; tables hold all of them."""


def slices(found: Sequence[Slice], overall: Metric) -> go.Figure:
    """One metric by slice; dashed: on all test rows."""
    shown = [(part, metric) for part in found for metric in part.metrics if metric.name == overall.name][:ROWS]
    figure = panel(f"{metric_name(overall.name)} by slice")
    names = [f"{part.column} = {part.value} ({part.rows:,})" for part, _ in shown]
    _metrics(figure, names, [metric for _, metric in shown])
    return figure.add_trace(line([overall.value] * 2, [-0.5, max(len(shown), 1) - 0.5]))


def baselines(ours: Metric, others: Sequence[Baseline]) -> go.Figure:
    """One metric of this model and of the baselines."""
    found = [(other.name, metric) for other in others for metric in other.metrics if metric.name == ours.name]
    figure = panel(metric_name(ours.name))
    return _metrics(figure, ["this model", *(name for name, _ in found)], [ours, *(metric for _, metric in found)])


def differences(others: Sequence[Baseline]) -> go.Figure:
    """Loss of this model less the baseline's on the same rows: left of zero is better."""
    found = [other.comparison for other in others]
    loss = found[0].loss.replace("_", " ") if found else "loss"
    figure = panel("Paired difference", f"{loss}: this model less the baseline")
    hover = [difference(c.difference, c.lower, c.upper) for c in found]
    columns = [c.difference for c in found], [c.lower for c in found], [c.upper for c in found]
    dots(figure, [f"against {other.name}" for other in others], *columns, hover)
    return figure.add_trace(line([0, 0], [-0.5, len(found) - 0.5]))


def importance(found: Sequence[Importance]) -> go.Figure:
    """By how much the loss grows when one column is permuted."""
    shown = sorted(found, key=lambda column: -column.increase)[:ROWS]
    title = "What the model leans on" if len(shown) == len(found) else f"The {ROWS} columns the model leans on most"
    figure = panel(title, "growth of the validation loss when the column is permuted")
    hover = [f"{label(c.column)}: {signed(c.increase, c.lower, c.upper)}" for c in shown]
    columns = [c.increase for c in shown], [c.lower for c in shown], [c.upper for c in shown]
    dots(figure, [c.column for c in shown], *columns, hover)
    return figure.add_trace(line([0, 0], [-0.5, len(shown) - 0.5]))


def _metrics(figure: go.Figure, names: Sequence[str], found: Sequence[Metric]) -> go.Figure:
    hover = [
        f"{label(name)}: {value_of(metric)} {interval(metric.lower, metric.upper)}"
        for name, metric in zip(names, found, strict=True)
    ]
    columns = [m.value for m in found], [m.lower for m in found], [m.upper for m in found]
    return dots(figure, names, *columns, hover)
