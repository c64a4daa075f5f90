"""The run's report: one HTML file."""

from collections.abc import Mapping

import plotly.graph_objects as go

from tidemill.report import document, sections, summary
from tidemill.report.content import ReportContent


def render(content: ReportContent, drawn: Mapping[str, go.Figure]) -> str:
    """The whole page. `drawn` are its figures, `gallery.figures(content)`."""
    parts = sections.all_of(content, document.Places(drawn))
    return document.render(summary.title(content), summary.summary(content), parts, drawn)
