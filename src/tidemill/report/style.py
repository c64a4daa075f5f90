"""How figures look, by day and by night, and how names are written into them.

Colours are Okabe and Ito's (2008), told apart with any colour vision; figures take them in order and
never name one, so that the page can change the theme without drawing anew.
"""

from html import escape
from typing import Any

GREY = "#8a8f98"
"""Reads on white and on black: reference lines, what is not ours."""


STEEL = "#3d8fc4"
"""Reads on white and on black: bars where there is nothing to tell apart."""


def template(*, dark: bool) -> dict[str, Any]:
    """A Plotly template: what a figure does not set itself."""
    ink, faint, paper = ("#dfe3e8", "#343a42", "#16191d") if dark else ("#1d2329", "#e3e6ea", "#ffffff")
    colours = (
        ["#56b4e9", "#e69f00", "#2fc39b", "#e58fbd", "#f0e442", "#e8713c", "#b9bec6"]
        if dark
        else ["#0072b2", "#d55e00", "#009e73", "#b8579a", "#c28400", "#3d9fd8", "#555b63"]
    )
    axis = {"gridcolor": faint, "linecolor": GREY, "zerolinecolor": faint, "automargin": True, "title": {"standoff": 8}}
    ramp = [[0, paper], [0.5, "#2b7cab" if dark else "#7fb8dc"], [1, "#a9dcff" if dark else "#004a75"]]
    return {
        "layout": {
            "font": {"family": "system-ui, -apple-system, 'Segoe UI', sans-serif", "size": 13, "color": ink},
            "paper_bgcolor": paper,
            "plot_bgcolor": paper,
            "colorway": colours,
            "colorscale": {"sequential": ramp},
            "xaxis": axis,
            "yaxis": {**axis, "zeroline": False},
            "margin": {"l": 56, "r": 16, "t": 44, "b": 48},
            "title": {"x": 0, "xref": "paper", "xanchor": "left", "font": {"size": 15}},
            "legend": {"orientation": "h", "y": -0.18, "yanchor": "top", "x": 0},
            "hoverlabel": {"align": "left"},
            "hovermode": "closest",
            "annotationdefaults": {"font": {"color": ink, "size": 12}, "showarrow": False},
        }
    }


def label(text: object, length: int = 32) -> str:
    """A name for a figure: one line, not too long, and without meaning to Plotly, which reads tags."""
    line = " ".join(str(text).split()) or "(empty)"
    return escape(line if len(line) <= length else line[: length - 1] + "…", quote=False)  # Plotly knows no &quot;
