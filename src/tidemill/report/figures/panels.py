"""What several figures are drawn with."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import plotly.graph_objects as go

from tidemill.report.style import GREY, label, template


def panel(title: str, x: str = "", y: str = "", *, height: int = 360, **layout: Any) -> go.Figure:
    """An empty figure with its titles."""
    axes = {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}}
    return go.Figure(layout={"template": day(), "title": {"text": title}, "height": height, **axes, **layout})


@cache
def day() -> go.layout.Template:
    """Checked once: Plotly takes longer over a template than over a figure."""
    return go.layout.Template(template(dark=False))


def line(x: Sequence[float], y: Sequence[float], name: str = "") -> go.Scatter:
    """A grey dashed line to compare with."""
    return go.Scatter(
        x=list(x),
        y=list(y),
        name=name,
        mode="lines",
        line={"color": GREY, "dash": "dash", "width": 1.5},
        hoverinfo="skip",
        showlegend=bool(name),
    )


def ends(values: Sequence[float], lower: Sequence[float | None], upper: Sequence[float | None]) -> dict[str, Any]:
    """Error bars from intervals; where there is none, the bar has no length."""
    below = [0.0 if low is None else max(value - low, 0.0) for value, low in zip(values, lower, strict=True)]
    above = [0.0 if high is None else max(high - value, 0.0) for value, high in zip(values, upper, strict=True)]
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 1.5, "width": 3}


def dots(
    figure: go.Figure,
    names: Sequence[str],
    values: Sequence[float],
    lower: Sequence[float | None],
    upper: Sequence[float | None],
    hover: Sequence[str],
) -> go.Figure:
    """One row a name, from the top down: a dot and its interval."""
    places = np.arange(len(names))
    figure.add_trace(
        go.Scatter(
            x=list(values),
            y=places,
            error_x=ends(values, lower, upper),
            mode="markers",
            marker={"size": 9},
            text=list(hover),
            hovertemplate="%{text}<extra></extra>",
            showlegend=False,
        )
    )
    figure.update_yaxes(
        tickvals=places, ticktext=[label(name) for name in names], range=[len(names) - 0.5, -0.5], showgrid=False
    )
    figure.update_layout(height=130 + 26 * max(len(names), 2))
    return figure
