"""What commands write for people: lines and plain tables on standard output."""

import sys
from collections.abc import Sequence


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[i]) for line in (header, *lines)) for i in range(len(header))]
    ruled = [header, ["─" * width for width in widths], *lines]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in ruled)
