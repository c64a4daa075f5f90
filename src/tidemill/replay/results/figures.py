"""The figures of a replay: each a function from values to a Plotly figure of bounded size."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import plotly.graph_objects as go
import polars as pl

from tidemill.replay.results.difference import CumulativeDifference, Difference
from tidemill.report.figures.panels import dots, line, panel
from tidemill.report.numerals import difference
from tidemill.report.style import GREY, STEEL, label

LINES = 12
"""Lines that one figure shows: those that came nearest to their threshold."""
ROWS = 40
"""Checks that the timeline of alarms shows."""

Mark = tuple[datetime, str]
"""A moment, and what happened then."""


def traffic(days: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Records a day."""
    figure = panel("Records a day", height=300, barmode="stack")
    shown = [day["day"] for day in days]
    answered = [day["records"] - day["failed"] for day in days]
    figure.add_trace(go.Bar(x=shown, y=answered, name="answered", marker={"color": STEEL}))
    if any(day["failed"] for day in days):
        figure.add_trace(go.Bar(x=shown, y=[day["failed"] for day in days], name="failed"))
    return figure


def course(found: CumulativeDifference, loss: str, marks: Sequence[Mark]) -> go.Figure:
    """The champion's loss less the first version's, summed up to each day, with its interval."""
    figure = panel("Champion less the first version", "", f"{loss}, summed up", height=420)
    days = list(found.days)
    band = {"x": [*days, *days[::-1]], "y": [*found.upper, *list(found.lower)[::-1]]}
    figure.add_trace(
        go.Scatter(**band, fill="toself", mode="none", fillcolor="rgba(128,140,155,.25)", name="95% interval")
    )
    figure.add_trace(go.Scatter(x=days, y=list(found.total), name="difference", mode="lines"))
    figure.add_hline(y=0, line={"color": GREY, "dash": "dash", "width": 1.5})
    return _marked(figure, marks)


def months(found: Sequence[tuple[date, Difference]], loss: str) -> go.Figure:
    """The mean difference of each month: left of zero the champion was better."""
    figure = panel("By month", f"{loss}: champion − first version")
    hover = [f"{month:%B}: {_said(one)}" for month, one in found]
    names, values = [f"{month:%B %Y}" for month, _ in found], [one.difference for _, one in found]
    lower, upper = (
        [_finite(end) for end in side] for side in zip(*((o.lower, o.upper) for _, o in found), strict=True)
    )
    dots(figure, names, values, lower, upper, hover)
    return figure.add_trace(line([0, 0], [-0.5, len(found) - 0.5]))


def trials(readings: pl.DataFrame, what: str, title: str) -> go.Figure | None:
    """Evidence about challengers, stage by stage, and the threshold at which it decides. None: there was no trial."""
    chosen = readings.filter(pl.col("check") == f"trial {what}")
    if chosen.is_empty():
        return None
    figure = panel(title, "", "log of the e-value", height=400)
    for subject in chosen["subject"].unique(maintain_order=True):
        one = chosen.filter(pl.col("subject") == subject)
        figure.add_trace(_line(one, one["log_e"].to_list(), subject))
    return _threshold(figure, chosen["log_threshold"][0])


def harm(readings: pl.DataFrame, marks: Sequence[Mark]) -> go.Figure | None:
    """Evidence of harm as a share of its threshold, the lines that came nearest. None: nothing was watched for harm."""
    share = (pl.col("log_e") / pl.col("log_threshold")).clip(-1, 5).alias("share")
    watched = readings.filter(pl.col("severity") == "harm", ~pl.col("check").str.starts_with("trial "))
    if watched.is_empty():
        return None
    figure = panel("Evidence of harm / its threshold", height=400)
    parts = watched.with_columns(share).partition_by("check", "subject", maintain_order=True)
    for one in sorted(parts, key=lambda part: -part["share"].max())[:LINES]:  # type: ignore[operator]
        figure.add_trace(_line(one, one["share"].to_list(), _name(one["check"][0], one["subject"][0])))
    return _marked(_threshold(figure, 1.0), marks)


def alarms(readings: pl.DataFrame, marks: Sequence[Mark]) -> go.Figure | None:
    """When each check was in alarm, the first that were from the top. None: none ever was."""
    rows = readings.filter(pl.col("alarm")).select("check", "subject").unique(maintain_order=True).head(ROWS).rows()
    if not rows:
        return None
    figure = panel("Checks in alarm", height=150 + 24 * len(rows))
    named = {severity: {"x": [], "y": []} for severity in ("harm", "advice", "news")}  # type: ignore[var-annotated]
    for place, (check, subject) in enumerate(rows):
        one = readings.filter(pl.col("check") == check, pl.col("subject") == subject)
        trace = named.setdefault(one["severity"][0], {"x": [], "y": []})
        trace["x"] += [moment if alarm else None for moment, alarm in one.select("moment", "alarm").rows()] + [None]
        trace["y"] += [place] * (one.height + 1)
    for severity, trace in named.items():
        if trace["x"]:
            figure.add_trace(
                go.Scatter(**trace, name=severity, mode="lines+markers", line={"width": 6}, marker={"size": 6})
            )
    ticks = {"tickvals": list(range(len(rows))), "ticktext": [_name(check, subject) for check, subject in rows]}
    figure.update_yaxes(**ticks, range=[len(rows) - 0.5, -0.5], showgrid=False)
    return _marked(figure, marks)


def _line(one: pl.DataFrame, values: list[float], name: str) -> go.Scatter:
    mode = "lines+markers" if one.height == 1 else "lines"
    return go.Scatter(x=one["moment"].to_list(), y=values, name=label(name, 48), mode=mode)


def _threshold(figure: go.Figure, height: float) -> go.Figure:
    return figure.add_hline(y=height, line={"color": GREY, "dash": "dash", "width": 1.5}, annotation_text="threshold")


def _marked(figure: go.Figure, marks: Sequence[Mark]) -> go.Figure:
    for moment, said in marks:
        figure.add_vline(x=moment, line={"color": GREY, "dash": "dot", "width": 1.5})
        figure.add_annotation(
            x=moment, y=1, yref="paper", text=label(said, 24), textangle=-90, xanchor="right", yanchor="top"
        )
    return figure


def _name(check: str, subject: str) -> str:
    return label(f"{check}: {subject}" if subject else check, 30)


def _said(one: Difference) -> str:
    return f"{difference(one.difference, one.lower, one.upper)}, {one.rows:,} records"


def _finite(value: float) -> float | None:
    return value if abs(value) != float("inf") else None
