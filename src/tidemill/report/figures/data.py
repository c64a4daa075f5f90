"""Distributions of the training split."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from tidemill.report.distributions import Distribution
from tidemill.report.figures.panels import day
from tidemill.report.style import STEEL, label
from tidemill.settings import Kind

COLUMNS = 3
HEIGHT = 165
FEW_STEPS = 4
LONGEST_CODE = 1e6
GAP = 62
"""Pixels between two rows of charts, for the axis below and the name above."""


def distributions(columns: Sequence[Distribution]) -> go.Figure:
    """Small multiples: a histogram or the most frequent categories of each column.

    Put together as one mapping: Plotly's own subplots take seconds for hundreds of columns.
    """
    rows = max(math.ceil(len(columns) / COLUMNS), 1)
    height = rows * HEIGHT + 60
    layout: dict[str, Any] = {
        "template": day(),
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 30, "b": 30},
        "bargap": 0.04,
        "separators": ".",  # 2015 may be a year, 48212 an id: digits are not grouped
    }
    layout["annotations"] = []
    bars = []
    for i, column in enumerate(columns):
        n = "" if i == 0 else str(i + 1)
        bars.append({**_bars(column), "xaxis": f"x{n}", "yaxis": f"y{n}"})
        x, y = _place(i, rows, height)
        ticks = _categories(column) if column.places is None else {"showticklabels": False}
        layout[f"xaxis{n}"] = {"domain": x, "anchor": f"y{n}", "tickangle": 0, "nticks": 4, **_steps(column)}
        layout[f"yaxis{n}"] = {"domain": y, "anchor": f"x{n}", "showgrid": False, **ticks}
        place = {"x": x[0], "y": y[1], "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
        layout["annotations"].append({"text": label(column.name, 26), **place})
    return go.Figure({"data": bars, "layout": {**layout, "showlegend": False}})


def _place(i: int, rows: int, height: int) -> tuple[list[float], list[float]]:
    """Where chart i stands, as shares of the width and of the height, from the top left on."""
    row, column = divmod(i, COLUMNS)
    gap, step = GAP / height, 1 / rows
    left = column / COLUMNS
    top = 1 - row * step
    return [left + 0.01, left + 1 / COLUMNS - 0.03], [max(top - step + gap, 0), top]


def _bars(column: Distribution) -> dict[str, Any]:
    look = {
        "type": "bar",
        "marker": {"color": STEEL, "line": {"width": 0}},
        "hovertemplate": "about %{y:,.0f} rows<extra></extra>",
    }
    if column.places is None:
        names = list(range(len(column.names)))
        hover = {"hovertemplate": "%{x:,} rows<extra></extra>"}
        return {**look, "x": column.rows, "y": names, "orientation": "h", "opacity": 0.45, **hover}
    places = column.places
    if column.kind is Kind.TIMESTAMP:
        return {**look, "x": places[:-1], "y": column.rows, "offset": 0}
    middles = [(low + high) / 2 for low, high in pairwise(places)]
    return {**look, "x": middles, "y": column.rows, "width": places[1] - places[0]}


def _steps(column: Distribution) -> dict[str, Any]:
    """Between the years 2015 and 2016 there is no 2015.5, and the code 50125 is not 50.1k."""
    if not column.whole or column.places is None:
        return {}
    low, high = column.places[0], column.places[-1]
    plain = {"exponentformat": "none"} if max(abs(low), abs(high)) < LONGEST_CODE else {}
    return {**plain, "dtick": 1} if high - low <= FEW_STEPS else plain


def _categories(column: Distribution) -> dict[str, Any]:
    """Names stand on the bars, which are pale for it."""
    names = [label(name, 24) for name in column.names]
    ticks = {"tickvals": list(range(len(names))), "ticktext": names, "tickfont": {"size": 10}}
    return {"autorange": "reversed", "ticklabelposition": "inside", **ticks}
