"""Figures of answered values against true ones [N], all on the test split."""

import numpy as np
import plotly.graph_objects as go

from tidemill.report import curves
from tidemill.report.figures.panels import ends, line, panel
from tidemill.report.style import label

CELLS = 60
BINS = 10


def predicted_against_true(truth: np.ndarray, value: np.ndarray, target: str) -> go.Figure:
    """A density: rows by cell on a logarithmic scale."""
    low, high = curves.central(np.concatenate([truth, value]))
    counts, x, y = np.histogram2d(value, truth, bins=CELLS, range=[[low, high], [low, high]])
    figure = panel(
        "Answered against true", f"answered {label(target)}", f"true {label(target)}", height=440, separators="."
    )
    with np.errstate(divide="ignore"):
        z = np.where(counts.T > 0, np.log10(counts.T), np.nan)
    figure.add_trace(
        go.Heatmap(
            x=(x[:-1] + x[1:]) / 2,
            y=(y[:-1] + y[1:]) / 2,
            z=z,
            zmin=-0.5,
            autocolorscale=True,
            showscale=False,
            customdata=counts.T.astype(int),
            hovertemplate="answered %{x:.4g}, was %{y:.4g}: %{customdata:,} rows<extra></extra>",
        )
    )
    figure.add_trace(line([low, high], [low, high]))
    return figure


def residuals(truth: np.ndarray, value: np.ndarray) -> go.Figure:
    errors = value - truth
    low, high = curves.central(errors, 0.99)
    rows, edges = np.histogram(np.clip(errors, low, high), bins=50, range=(low, high))
    figure = panel("Errors", "answered less true (outliers in the end bars)", "rows", bargap=0.02, height=440)
    figure.add_trace(
        go.Bar(
            x=(edges[:-1] + edges[1:]) / 2,
            y=rows,
            showlegend=False,
            hovertemplate="%{x:.4g}: %{y:,} rows<extra></extra>",
        )
    )
    figure.add_trace(line([0, 0], [0, int(rows.max(initial=1))]))
    return figure


def residuals_by_answer(truth: np.ndarray, value: np.ndarray, target: str) -> go.Figure:
    """Middle error and the central 90 % of errors, in bins of the answer with equally many rows."""
    where = curves.quantile_bins(value, BINS)
    errors = value - truth
    used = [i for i in range(BINS) if (where == i).any()]
    middle = [float(value[where == i].mean()) for i in used]
    low, half, high = (
        [float(level) for level in levels]
        for levels in np.array([np.quantile(errors[where == i], [0.05, 0.5, 0.95]) for i in used]).reshape(-1, 3).T
    )
    figure = panel("Errors by answer", f"answered {label(target)}", "answered less true", height=400)
    figure.add_trace(
        go.Scatter(
            x=middle, y=half, error_y=ends(half, low, high), mode="lines+markers", name="median and 90 % of errors"
        )
    )
    figure.add_trace(line([min(middle, default=0), max(middle, default=1)], [0, 0]))
    figure.update_layout(showlegend=True)
    return figure


def coverage(
    truth: np.ndarray, value: np.ndarray, lower: np.ndarray, upper: np.ndarray, target: float | None, level: float
) -> go.Figure:
    """Share of true values inside the answered interval, in bins of the answer with equally many rows."""
    found = curves.by_quantile((truth >= lower) & (truth <= upper), value, level, BINS)
    figure = panel("Coverage of the intervals", "answered value", "share inside", height=400)
    figure.add_trace(
        go.Scatter(
            x=found.centre,
            y=found.share,
            error_y=ends(found.share.tolist(), found.lower.tolist(), found.upper.tolist()),
            mode="lines+markers",
            name="covered",
            customdata=found.rows,
            hovertemplate="%{y:.1%} of %{customdata:,} rows<extra></extra>",
        )
    )
    if target is not None and len(found.centre):
        figure.add_trace(line([found.centre.min(), found.centre.max()], [target] * 2, f"asked for: {target:.0%}"))
    figure.update_yaxes(tickformat=".0%")
    return figure
