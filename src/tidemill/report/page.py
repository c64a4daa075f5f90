"""The run's report: one HTML file."""

from collections.abc import Mapping

import plotly.graph_objects as go

from tidemill.report import document, sections, summary
from tidemill.report.content import ReportContent


def render(content: ReportContent, drawn: Mapping[str, go.Figure]) -> str:
    """The whole page. `drawn` are its figures, `gallery.figures(content)`."""
    figures = document.Places(drawn)
    parts = {
        "Data": sections.data(content),
        "Distributions": sections.distributions(content, figures),
        "Training": figures("learning_curves", "learning_rate"),
        "Results": sections.results(content, figures),
        "Slices": sections.slices(content, figures),
        "Baselines": sections.baselines(content, figures),
        "Importance": sections.importance(content, figures),
        "Export": sections.export(content),
        "Reproduce": sections.reproduce(content),
    }
    return document.render(content.name, summary.summary(content), parts, drawn)
