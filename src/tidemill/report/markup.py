"""HTML from plain values. Text is escaped wherever it enters; only `Html` passes as it is."""

import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def html(value: object) -> Html:
    return value if isinstance(value, Html) else Html(escape(str(value)))


def tag(name: str, *content: object, **attributes: str) -> Html:
    """`tag("p", "a < b", class_="note")`; None among the content is left out."""
    texts = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{texts}>{''.join(html(part) for part in content if part is not None)}</{name}>")


def join(parts: Iterable[object]) -> Html:
    return Html("\n".join(html(part) for part in parts))


def breakable(name: str) -> Html:
    """A name that a line may end in after an underscore or the like, before anywhere else."""
    return Html(re.sub(r"(?<=[_.-])(?=.)", "<wbr>", escape(name)))


def table(head: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[int] = ()) -> Html:
    """A table that scrolls sideways by itself.

    Args:
        numbers: columns (from 0) set flush right.
    """

    def line(cell: str, values: Sequence[object]) -> Html:
        return tag(
            "tr", *(tag(cell, v, class_="number") if i in numbers else tag(cell, v) for i, v in enumerate(values))
        )

    body = tag("tbody", *(line("td", row) for row in rows))
    return tag("div", tag("table", tag("thead", line("th", head)), body), class_="scroll")


def folded(summary: str, *content: object) -> Html:
    """Content that stays closed until it is asked for."""
    return tag("details", tag("summary", summary), *content)


def tiles(shown: Iterable[tuple[str, str, str]]) -> Html:
    """Figures side by side: a name, the figure in large type, and a note below it."""
    return tag(
        "div",
        *(
            tag("div", tag("div", name), tag("strong", figure), tag("div", note), class_="tile")
            for name, figure, note in shown
        ),
        class_="tiles",
    )


def verdict(headline: str, reasons: Sequence[str], *, good: bool) -> Html:
    """A box that says how something was judged, and why."""
    items = tag("ul", *(tag("li", reason) for reason in reasons)) if reasons else None
    head = tag("strong", headline, class_="good" if good else "bad")
    return tag("div", head, items, class_="verdict" if good else "verdict refused")


def page(title: str, policy: str, *body: str) -> str:
    """A whole file. policy: of its content, so that it can neither load nor send anything."""
    head = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n{head}',
            f"{tag('title', title)}\n<style>{own('page.css')}</style>\n</head>\n<body>",
            *body,
            "</body>\n</html>\n",
        ]
    )


def script(text: str) -> Html:
    return Html(f"<script>{text}</script>")


def own(name: str) -> str:
    """A file beside this one."""
    return (files("tidemill.report") / name).read_text(encoding="utf-8")
