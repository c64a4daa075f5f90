"""Distributions of the training split."""

import math
from collections.abc import Sequence
from itertools import pairwise

import plotly.graph_objects as go

from tidemill.report.distributions import Distribution
from tidemill.report.figures.panels import panel
from tidemill.report.style import STEEL, label
from tidemill.settings import Kind

COLUMNS = 3
HEIGHT = 165


def distributions(columns: Sequence[Distribution], title: str = "") -> go.Figure:
    """Small multiples: a histogram or the most frequent categories of each column."""
    from plotly.subplots import make_subplots

    rows = math.ceil(len(columns) / COLUMNS)
    if not rows:
        return panel(title)
    grid = make_subplots(
        rows=rows,
        cols=COLUMNS,
        subplot_titles=[label(column.name) for column in columns],
        vertical_spacing=min(0.3, 62 / (rows * HEIGHT)),
        horizontal_spacing=0.09,
    )
    figure = panel(title, height=max(rows * HEIGHT + 60, 240))
    figure.update_layout(grid.layout.to_plotly_json(), showlegend=False, bargap=0.04)
    figure.update_layout(template=panel(title).layout.template)
    figure._grid_ref = grid._grid_ref
    figure.update_yaxes(showticklabels=False, showgrid=False)
    figure.update_xaxes(tickangle=0, nticks=4)
    for i, column in enumerate(columns):
        figure.add_trace(_bars(column), row=i // COLUMNS + 1, col=i % COLUMNS + 1)
        if column.places is None:
            _name_categories(figure, column, i)
    figure.update_annotations(font_size=12)
    return figure


def _bars(column: Distribution) -> go.Bar:
    look = {"marker": {"color": STEEL, "line": {"width": 0}}}
    if column.places is None:
        return go.Bar(y=list(range(len(column.names))), x=column.rows, orientation="h", opacity=0.45, **look)
    places = column.places
    if column.kind is Kind.TIMESTAMP:
        return go.Bar(x=places[:-1], y=column.rows, offset=0, **look)
    middles = [(low + high) / 2 for low, high in pairwise(places)]
    return go.Bar(x=middles, y=column.rows, width=places[1] - places[0], **look)


def _name_categories(figure: go.Figure, column: Distribution, i: int) -> None:
    """Names stand on the bars, which are pale for it."""
    place = {"row": i // COLUMNS + 1, "col": i % COLUMNS + 1}
    names = [label(name, 24) for name in column.names]
    figure.update_yaxes(
        autorange="reversed",
        tickvals=list(range(len(names))),
        ticktext=names,
        ticklabelposition="inside",
        tickfont={"size": 10},
        showticklabels=True,
        **place,
    )
