"""Figures of probabilities [N, classes] against true classes [N], all on the test split."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from tidemill.report import curves
from tidemill.report.figures.panels import ends, line, panel
from tidemill.report.style import label

CURVES = 7
"""More lines than colours cannot be told apart: the most frequent classes are drawn."""
ENOUGH = 20
"""Rows that a bin needs to be part of a line without intervals."""
CLASSES = 30
"""Classes that a confusion matrix can show."""


def roc(truth: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> go.Figure:
    figure = panel("ROC", "false positive rate", "true positive rate", height=420)
    for name, positive, scores in _one_against_rest(truth, probabilities, classes):
        curve = curves.roc(positive, scores)
        figure.add_trace(go.Scatter(x=curve.x, y=curve.y, name=label(name), mode="lines"))
    figure.add_trace(line([0, 1], [0, 1]))
    return _unit_square(figure, many=len(classes) > 2)


def precision_recall(truth: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> go.Figure:
    figure = panel("Precision and recall", "recall", "precision", height=420)
    for name, positive, scores in _one_against_rest(truth, probabilities, classes):
        curve = curves.precision_recall(positive, scores)
        figure.add_trace(go.Scatter(x=curve.x, y=curve.y, name=label(name), mode="lines"))
        if len(classes) == 2 and len(positive):
            figure.add_trace(line([0, 1], [positive.mean()] * 2, "share of the class"))
    return _unit_square(figure, many=len(classes) > 2)


def reliability(
    truth: np.ndarray, probabilities: np.ndarray, level: float, temperature: float | None, ece: float | None
) -> go.Figure:
    """How often the answer was right against how probable it was said to be; before calibration as well.

    Binary: of the positive class. Multiclass: of the most probable one.
    """
    title = "Reliability" if ece is None else f"Reliability (calibration error {ece:.3f})"
    figure = panel(title, "probability given", "share that came true", height=420)
    after = _reliability(truth, probabilities, level)
    figure.add_trace(
        go.Scatter(
            x=after.centre,
            y=after.share,
            error_y=ends(after.share.tolist(), after.lower.tolist(), after.upper.tolist()),
            name="calibrated" if temperature else "answers",
            mode="lines+markers",
            customdata=after.rows,
            hovertemplate="said %{x:.3f}, was %{y:.3f} (%{customdata:,} rows)<extra></extra>",
        )
    )
    if temperature:
        before = _reliability(truth, curves.uncalibrated(probabilities, temperature), level)
        sure = before.rows >= min(ENOUGH, before.rows.max(initial=0))
        figure.add_trace(
            go.Scatter(x=before.centre[sure], y=before.share[sure], name="before calibration", mode="lines")
        )
    figure.add_trace(
        go.Bar(
            x=after.centre,
            y=after.rows,
            width=0.02,
            yaxis="y2",
            name="rows",
            opacity=0.35,
            hovertemplate="%{y:,} rows<extra></extra>",
        )
    )
    figure.add_trace(line([0, 1], [0, 1]))
    figure.update_layout(
        yaxis_domain=[0.24, 1],
        yaxis2={"domain": [0, 0.17], "title": {"text": "rows"}, "nticks": 3, "anchor": "x"},
        xaxis={"anchor": "y2", "range": [-0.02, 1.02]},
        yaxis_range=[-0.02, 1.02],
    )
    return figure


def score_distribution(truth: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> go.Figure:
    """Binary: probability of the positive class, by true class. Multiclass: of the answer, by right and wrong."""
    if len(classes) == 2:
        x, title = probabilities[:, 1], f"probability of “{label(classes[1])}”"
        groups = {f"truly {label(name)}": truth == i for i, name in enumerate(classes)}
    else:
        x, title = probabilities.max(axis=1, initial=0), "probability of the answer"
        right = probabilities.argmax(axis=1) == truth
        groups = {"right": right, "wrong": ~right}
    figure = panel("What was answered", title, "share of its rows", barmode="overlay", bargap=0, height=420)
    edges = np.linspace(0, 1, 41)
    for name, chosen in groups.items():
        rows = np.histogram(x[chosen], edges)[0]
        y = rows / max(rows.sum(), 1)
        figure.add_trace(go.Bar(x=(edges[:-1] + edges[1:]) / 2, y=y, name=name, opacity=0.6, customdata=rows))
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    return figure


def confusion(truth: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> go.Figure:
    """True classes by answered ones, as shares of the true class."""
    counts = curves.confusion(truth, probabilities.argmax(axis=1), len(classes))
    shown = np.sort(np.argsort(-counts.sum(axis=1), kind="stable")[:CLASSES])
    title = "Confusion" if len(shown) == len(classes) else f"Confusion (the {CLASSES} most frequent classes)"
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    counts, share = counts[np.ix_(shown, shown)], share[np.ix_(shown, shown)]
    names = [label(classes[i], 18) for i in shown]
    places = list(range(len(shown)))
    figure = panel(title, "answered", "truly", height=max(420, 140 + 26 * len(shown)))
    text = [[f"{share:.0%}" if share >= 0.005 else "" for share in row] for row in share] if len(shown) <= 12 else None
    figure.add_trace(
        go.Heatmap(
            z=share,
            zmin=0,
            zmax=1,
            autocolorscale=True,
            showscale=False,
            xgap=1,
            ygap=1,
            text=text,
            texttemplate="%{text}" if text else None,
            customdata=counts,
            hovertemplate="%{customdata:,} rows, %{z:.1%} of the true class<extra></extra>",
        )
    )
    ticks = {"tickvals": places, "ticktext": names, "showgrid": False}
    figure.update_xaxes(**ticks)
    figure.update_yaxes(autorange="reversed", **ticks)
    return figure


def by_class(truth: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], level: float) -> go.Figure:
    """Recall and precision of each class, with intervals: the most frequent ones, from the top down."""
    counts = curves.confusion(truth, probabilities.argmax(axis=1), len(classes))
    shown = np.argsort(-counts.sum(axis=1), kind="stable")[:CLASSES]
    title = f"By class (share and {level:.0%} interval)"
    figure = panel(title, "", "", height=150 + 34 * len(shown))
    right = counts.diagonal()[shown]
    for offset, (name, totals) in enumerate({"recall": counts.sum(axis=1), "precision": counts.sum(axis=0)}.items()):
        rows = totals[shown]
        value = right / np.maximum(rows, 1)
        lower, upper = curves.wilson(value, np.maximum(rows, 1), level)
        figure.add_trace(
            go.Scatter(
                x=np.where(rows, value, np.nan),
                y=np.arange(len(shown)) + (offset - 0.5) * 0.3,
                error_x=ends(value.tolist(), lower.tolist(), upper.tolist()),
                mode="markers",
                marker={"size": 8, "symbol": "circle" if offset == 0 else "diamond"},
                name=name,
                customdata=rows,
                hovertemplate="%{x:.3f} of %{customdata:,} rows",
            )
        )
    ticks = [f"{label(classes[i], 22)} ({counts[i].sum():,})" for i in shown]
    figure.update_yaxes(tickvals=list(range(len(shown))), ticktext=ticks, range=[len(shown) - 0.5, -0.5])
    return figure


def _one_against_rest(
    truth: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    if len(classes) == 2:
        return [(classes[1], truth == 1, probabilities[:, 1])]
    rows = np.bincount(truth, minlength=len(classes))
    frequent = [int(i) for i in np.argsort(-rows, kind="stable")[:CURVES] if rows[i]]
    return [(classes[i], truth == i, probabilities[:, i]) for i in frequent]


def _reliability(truth: np.ndarray, probabilities: np.ndarray, level: float) -> curves.Shares:
    if probabilities.shape[1] == 2:
        return curves.reliability(truth == 1, probabilities[:, 1], level)
    said = probabilities.argmax(axis=1)
    return curves.reliability(said == truth, probabilities.max(axis=1, initial=0), level)


def _unit_square(figure: go.Figure, *, many: bool) -> go.Figure:
    figure.update_xaxes(range=[-0.01, 1.01])
    figure.update_yaxes(range=[-0.01, 1.02])
    figure.update_layout(showlegend=many or any(trace.showlegend for trace in figure.data))
    return figure
