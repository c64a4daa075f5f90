"""What a table's columns suggest that settings could declare: a date in three columns."""

import re
from collections.abc import Sequence

from tidemill.data.made_moments import Moment

_NAMED = re.compile(r"^(.*?)[_\W]*(year|month|day(?:[_ ]?of[_ ]?month)?)$", re.IGNORECASE)
_LEAD = re.compile(r"(?:^|_)(?:lead|days)_?(?:time|ahead|before)", re.IGNORECASE)


def moment(names: Sequence[str], moments: Sequence[Moment]) -> str | None:
    """What to say where names of columns look like a year, a month and a day of which no moment is made."""
    used = {name for moment in moments for name in moment.columns}
    groups: dict[str, dict[str, str]] = {}
    for name in names:
        if (found := _NAMED.match(name)) and name not in used:
            part = found[2].lower()
            groups.setdefault(found[1], {})["day" if part.startswith("day") else part] = name
    for prefix, parts in groups.items():
        if parts.keys() >= {"year", "month", "day"}:
            made = {part: parts[part] for part in ("year", "month", "day")}
            lead = next((name for name in names if _LEAD.search(name)), None)
            if lead is not None:
                made["minus_days"] = lead
            target = prefix.strip("_ ") or "date"
            target = f"{target}_moment" if target in names else target
            text = ", ".join(f"{part}: {_quoted(name)}" for part, name in made.items())
            return (
                f"{', '.join(parts[part] for part in ('year', 'month', 'day'))} look like the parts of a date. "
                f"A moment can be made of them, for data.time or as a feature: "
                f"'data.moments.{target}={{{text}}}'"
                + (f" (leave minus_days out if {lead} is not the days before it)" if lead else "")
            )
    return None


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else f'"{name}"'
