"""The frame of a page: one HTML file that holds all it needs, and asks no network for anything."""

import json
import re
from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from tidemill.report.markup import Html, join, own, page, script, tag
from tidemill.report.style import template

# Whatever a column is called, the page can neither load nor send anything.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"


def render(title: str, top: Html, parts: Mapping[str, Html | None], drawn: Mapping[str, go.Figure]) -> str:
    """The whole file: the top, links to the parts, and the parts by their titles; empty ones are left out.

    Args:
        drawn: the figures, by name; `Places` makes room for them in the parts.
    """
    links = [tag("a", name, href=f"#{_anchor(name)}") for name, part in parts.items() if part]
    body = [tag("section", tag("h2", name, id=_anchor(name)), part) for name, part in parts.items() if part]
    templates = {"light": template(dark=False), "dark": template(dark=True)}
    scripts = [_data(name, _figure_json(figure)) for name, figure in drawn.items()]
    ends = [*scripts, _data("templates", json.dumps(templates)), script(_plotly()), script(own("page.js"))]
    return page(title, POLICY, tag("main", top, tag("nav", *links), join(body)), *ends)


class Places:
    """Where figures go: an empty box each, filled by `page.js`; figures that there are not leave nothing."""

    def __init__(self, drawn: Mapping[str, go.Figure]) -> None:
        self.names = list(drawn)
        self._heights = {name: figure.layout.height for name, figure in drawn.items()}

    def __call__(self, *names: str) -> Html | None:
        boxes = [
            tag("div", class_="figure", data_figure=f"figure-{name}", style=f"min-height:{self._heights[name]}px")
            for name in names
            if name in self._heights
        ]
        if boxes and len(names) > 1:
            return tag("div", *boxes, class_="pair")
        return boxes[0] if boxes else None


def _data(name: str, content: str) -> Html:
    """JSON in the page; no text inside it can end the element."""
    identity = name if name == "templates" else f"figure-{name}"
    return Html(f'<script type="application/json" id="{identity}">{content.replace("<", chr(92) + "u003c")}</script>')


def _figure_json(figure: go.Figure) -> str:
    """Without its template: the page puts in the one for day or night."""
    content: dict[str, Any] = json.loads(figure.to_json(validate=False))
    content["layout"].pop("template", None)
    return json.dumps(content, separators=(",", ":"))


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z]+", "-", title.lower()).strip("-")


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())
