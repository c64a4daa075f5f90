"""HTML from plain values. Text is escaped wherever it enters; only `Html` passes as it is."""

import re
from collections.abc import Iterable, Sequence
from html import escape


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
