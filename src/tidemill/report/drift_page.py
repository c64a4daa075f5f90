"""The page of `tidemill drift`: one HTML file in the report's style, without a figure or script."""

from collections.abc import Sequence

from tidemill.report.markup import Html, page, table, tag
from tidemill.steward.drift.shift import ALPHA, SMALLEST, Comparison, Shift

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
HEAD = ("", "column", "kind", "rows moved", "evidence", "missing", "unseen", "what changed")


def line(shift: Shift) -> tuple[str, ...]:
    """A column's figures as text, under `HEAD`. Evidence is a natural log, and what it takes to name a column."""
    missing = f"{shift.missing_before:.1%} → {shift.missing:.1%}"
    examples = f" ({', '.join(shift.unseen)})" if shift.unseen else ""
    unreadable = f"{shift.unreadable:.1%} of values are not {shift.kind}" if shift.unreadable else ""
    return (
        "DRIFT" if shift.drifted else "",
        shift.column,
        str(shift.kind),
        f"{shift.effect:.1%}",
        f"{shift.log_e:.1f} of {shift.log_threshold:.1f}",
        missing if shift.missing or shift.missing_before else "",
        f"{shift.unseen_share:.1%}{examples}" if shift.unseen_share else "",
        "; ".join(text for text in (shift.says, unreadable) if text),
    )


def verdict(found: Comparison) -> str:
    named = sum(shift.drifted for shift in found.shifts)
    if not found.drifted:
        return (
            f"No drift: none of {len(found.shifts):,} columns has moved for certain by {SMALLEST:.0%} of rows or more."
        )
    lost = f"; {_names(found.absent)} not in the file" if found.absent else ""
    return f"{named:,} of {len(found.shifts):,} columns have drifted{lost}."


def notes(found: Comparison) -> list[str]:
    """What a reader should know besides."""
    said = [f"Columns only in the file: {_names(found.added)}."] if found.added else []
    return [
        *said,
        f"A column is named where the evidence says so for all columns together (at most {ALPHA:.0%} of those named "
        f"are expected to be wrong) and {SMALLEST:.0%} of rows or more have moved. Moments are shown, and never named.",
    ]


def render(found: Comparison) -> str:
    """The whole file."""
    compared = f"{found.rows:,} rows of {found.file} beside {found.rows_before:,} rows of {found.reference}"
    body = tag(
        "main",
        tag("h1", "Drift"),
        tag("p", compared, class_="soft"),
        tag("p", verdict(found), class_="verdict refused" if found.drifted else "verdict"),
        table(HEAD, [_marked(line(shift)) for shift in found.shifts], numbers=(3, 4)),
        *(tag("p", text, class_="soft") for text in notes(found)),
    )
    return page(f"Drift of {found.file}", _POLICY, body)


def _marked(cells: Sequence[str]) -> list[Html | str]:
    return [tag("span", cells[0], class_="bad"), *cells[1:]] if cells[0] else list(cells)


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - 10:,} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more
