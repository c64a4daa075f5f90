"""What of a file's categories the model never saw in training: counted part by part, told at the end of a run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from tidemill.data.profiles.profile import unseen

MOST = 0.5
"""Share of a column's values from which on it is told that they were never seen."""
_SHOWN = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Unseen:
    """Of one column: values that are not missing, those of them that training never had, and the commonest of these."""

    present: int
    unseen: int
    examples: tuple[str, ...]

    @property
    def share(self) -> float:
        return self.unseen / self.present if self.present else 0.0

    def and_(self, other: "Unseen") -> "Unseen":
        examples = tuple(dict.fromkeys((*self.examples, *other.examples)))[:_SHOWN]
        return Unseen(present=self.present + other.present, unseen=self.unseen + other.unseen, examples=examples)


def count(table: pl.DataFrame, references: Mapping[str, Any]) -> dict[str, Unseen]:
    """By column of a typed table.

    Args:
        references: entries of the bundle's profile, by column.
    """
    counts = {}
    for name, reference in references.items():
        found = unseen(table[name], reference)
        if found is not None:
            present = int((table[name] != "").sum())
            examples = tuple(found["value"].head(_SHOWN))
            counts[name] = Unseen(present=present, unseen=int(found["rows"].sum()), examples=examples)
    return counts


def together(parts: Mapping[str, Unseen], more: Mapping[str, Unseen]) -> dict[str, Unseen]:
    return {**parts, **{name: parts[name].and_(one) if name in parts else one for name, one in more.items()}}


def warnings(found: Mapping[str, Unseen], references: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each column of which most values are new to the model."""
    for name, one in found.items():
        if one.share < MOST:
            continue
        reference = references[name]
        known = [*reference["categories"], *(reference.get("seen") or ())]
        yield (
            f"warning: {one.share:.0%} of the values of {name!r} were never seen in training, like "
            f"{', '.join(map(_short, one.examples))}. The model knows {len(known):,}: "
            f"{', '.join(map(_short, known[:_SHOWN]))}{', …' if len(known) > _SHOWN else ''}. "
            "If they are written in another way there, rewrite the column and score the file again."
        )


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")
