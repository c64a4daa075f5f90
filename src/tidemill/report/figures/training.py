"""How training went."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from tidemill.report.curves import POINTS
from tidemill.report.figures.panels import line, panel

FEW_EPOCHS = 8
"""Below which Plotly would put ticks between epochs."""


def learning_curves(history: Sequence[Mapping[str, float]], loss: str) -> go.Figure:
    """Loss on the training and validation splits by epoch, and the epoch whose weights were kept."""
    figure = panel("Learning curves", "epoch", loss, hovermode="x unified")
    best = min(history, key=lambda entry: entry["validation_loss"])
    every = -(-len(history) // POINTS)
    shown = [entry for i, entry in enumerate(history) if i % every == 0 or entry is best or i == len(history) - 1]
    epochs = [entry["epoch"] for entry in shown]
    mode = "lines" if len(shown) > 40 else "lines+markers"
    for name, key in (("training", "train_loss"), ("validation", "validation_loss")):
        figure.add_trace(go.Scatter(x=epochs, y=[entry[key] for entry in shown], name=name, mode=mode))
    losses = [entry[key] for entry in shown for key in ("train_loss", "validation_loss")]
    if len(history) < FEW_EPOCHS:
        figure.update_xaxes(dtick=1)
    figure.add_trace(line([best["epoch"]] * 2, [min(losses), max(losses)], f"kept: epoch {best['epoch']:g}"))
    return figure


def learning_rate(history: Sequence[Mapping[str, float]]) -> go.Figure:
    figure = panel("Learning rate", "epoch", "learning rate")
    every = -(-len(history) // POINTS)
    shown = history[::every]
    figure.add_trace(
        go.Scatter(x=[entry["epoch"] for entry in shown], y=[entry["learning_rate"] for entry in shown], mode="lines")
    )
    if len(history) < FEW_EPOCHS:
        figure.update_xaxes(dtick=1)
    figure.update_yaxes(rangemode="tozero", exponentformat="power")
    return figure
