"""Two tables compared, or a table with a bundle's reference profile: which columns have moved, and by how much.

Each column gets an effect, the share of rows that would have to move (total variation over the bins of the reference),
and evidence, the log e-value of one look (histograms.py). Columns are named by e-BH over all, so that of those named
at most a share alpha is expected to be wrong, and only where the effect is `SMALLEST` or more. Moments move by nature:
they are shown, and never named.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tidemill.bundle import manifest
from tidemill.data.profiles.profile import Profile, cells, profile_like
from tidemill.data.reading import collect, reworded
from tidemill.data.schema import Column
from tidemill.errors import SchemaError
from tidemill.settings import Kind
from tidemill.steward.drift import reading as shift_reading
from tidemill.steward.drift.reading import Reference
from tidemill.steward.evidence import bin_names
from tidemill.steward.evidence.histograms import HistogramEvidence, e_bh
from tidemill.steward.evidence.limits import log_mean

ALPHA, SMALLEST = 0.05, 0.05
_ALONE = 0.8
_EXAMPLES = 3
_LONGEST = 40  # characters of an example


@dataclass(frozen=True, kw_only=True, slots=True)
class Shift:
    """One column. Shares are of all rows; before: in the reference.

    Args:
        effect: share of rows that would have to move. log_e: evidence; log_threshold: what names it.
        unseen: categories, or numbers outside of the reference's range, as examples; unseen_share: rows with such.
        unreadable: share of values that are not of the column's kind; they count as missing.
        says: what moved, where the column is named.
    """

    column: str
    kind: Kind
    drifted: bool
    effect: float
    log_e: float
    log_threshold: float
    missing_before: float
    missing: float
    unseen_share: float = 0.0
    unseen: tuple[str, ...] = ()
    unreadable: float
    says: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """absent, added: columns that only the reference has, or only the file."""

    reference: str
    file: str
    rows_before: int
    rows: int
    shifts: tuple[Shift, ...]
    absent: tuple[str, ...]
    added: tuple[str, ...]

    @property
    def drifted(self) -> bool:
        """Whether anything is named, or a column of the reference is not there."""
        return bool(self.absent) or any(shift.drifted for shift in self.shifts)


def compare(reference: str, file: str) -> Comparison:
    """
    Args:
        reference: a table, or a bundle's folder. file: the table that is compared with it; both as `data.path` takes
            them.

    Raises:
        SourceError, SchemaError: a table cannot be read, or has no columns that can be compared.
        BundleError: the folder is no bundle, or its profile is none.
    """
    folder = Path(reference)
    with reworded(reference, shift_reading.WORDS):
        bundled = (folder / manifest.NAME).exists()
        before = shift_reading.of_bundle(folder) if bundled else shift_reading.of_table(reference)
    with reworded(file, shift_reading.WORDS):
        return _compared(reference, before, file)


def _compared(reference: str, before: Reference, file: str) -> Comparison:
    frame = shift_reading.opened(file)
    stored = frame.collect_schema()
    entries = {name: entry for name, entry in before.profile["columns"].items() if name in stored}
    if not entries:
        raise SchemaError(
            "Tables that are compared have columns in common",
            observed=f"{file} has {', '.join(list(stored)[:10])}",
            remedy=f"name a table with columns like {', '.join(list(before.profile['columns'])[:10])}",
        )
    columns = [shift_reading.open_minded(before.schema[name]) for name in entries]
    read, unreadable, unfit = shift_reading.read(frame, columns, stored)
    live = profile_like(read, {"columns": {name: entries[name] for name in read.columns}})
    shifts = _shifts(entries, live, read, unreadable) if read.width else []
    shifts += [_of_another_type(before.schema[name], entries[name], text) for name, text in unfit.items()]
    spoken_of = {*before.profile["columns"], *before.ignored}
    absent = [name for name in before.profile["columns"] if name not in stored and name not in before.optional]
    return Comparison(
        reference=reference,
        file=file,
        rows_before=before.profile["rows"],
        rows=live["rows"] if read.width else int(collect(frame.select(pl.len())).item()),
        shifts=tuple(sorted(shifts, key=lambda shift: (not shift.drifted, -shift.effect))),
        absent=tuple(absent),
        added=tuple(name for name in stored if name not in spoken_of),
    )


def plain(comparison: Comparison) -> dict[str, Any]:
    """As JSON holds it."""
    columns = [
        {name: getattr(shift, name) for name in Shift.__slots__} | {"kind": str(shift.kind)}
        for shift in comparison.shifts
    ]
    whole = {name: getattr(comparison, name) for name in Comparison.__slots__ if name != "shifts"}
    return {**whole, "drifted": comparison.drifted, "alpha": ALPHA, "smallest": SMALLEST, "columns": columns}


def _shifts(
    entries: Mapping[str, Profile], live: Profile, read: pl.DataFrame, unreadable: Mapping[str, float]
) -> list[Shift]:
    weighed = {}
    for name, entry in live["columns"].items():
        ordered = entry["kind"] != Kind.CATEGORICAL
        evidence = HistogramEvidence(reference=cells(entries[name]), ordered=ordered)
        weighed[name] = evidence, evidence.look(cells(entry))
    watched = [name for name, entry in entries.items() if name in weighed and entry["kind"] != Kind.TIMESTAMP]
    log_e = {name: max(float(log_mean(weighed[name][1])), 0.0) for name in weighed}
    named = e_bh([log_e[name] for name in watched], ALPHA) if watched else np.zeros(0, dtype=bool)
    threshold = float(np.log(max(len(watched), 1) / (ALPHA * max(int(named.sum()), 1))))
    drifted = dict(zip(watched, named, strict=True))
    found = []
    for name, entry in live["columns"].items():
        evidence, looked = weighed[name]
        now, before = cells(entry), cells(entries[name])
        effect = evidence.distance(now)
        far = bool(drifted.get(name, False)) and effect >= SMALLEST
        share, examples = _unseen(entries[name], entry, read[name])
        found.append(
            Shift(
                column=name,
                kind=Kind(entry["kind"]),
                drifted=far,
                effect=effect,
                log_e=log_e[name],
                log_threshold=threshold,
                missing_before=float(before[-1] / max(before.sum(), 1)),
                missing=float(now[-1] / max(now.sum(), 1)),
                unseen_share=share,
                unseen=examples,
                unreadable=unreadable[name],
                says=_says(entries[name], before, now, _moved(evidence, looked, now)) if far else "",
            )
        )
    return found


def _moved(evidence: HistogramEvidence, looked: np.ndarray, now: np.ndarray) -> np.ndarray:
    """The cells to speak of [cells]: the one that nearly all of the rows came into or left, else the likeliest set."""
    shares = now / max(now.sum(), 1), evidence.reference / max(evidence.reference.sum(), 1)
    apart = np.abs(shares[0] - shares[1])
    if apart.max() >= _ALONE * evidence.distance(now):
        return np.asarray(np.eye(len(apart))[int(apart.argmax())])
    return np.asarray(evidence.sets[int(np.argmax(looked))])


def _says(entry: Profile, before: np.ndarray, now: np.ndarray, inside: np.ndarray) -> str:
    shares = (float(part @ inside / max(part.sum(), 1)) for part in (now, before))
    text = f"{bin_names.set_name(entry, inside)}: {next(shares):.1%} now, {next(shares):.1%} before"
    times = bin_names.common_factor(entry, now)
    return f"{text}; values are {times:.3g} times those, as if the unit had changed" if times else text


def _unseen(reference: Profile, entry: Profile, read: pl.Series) -> tuple[float, tuple[str, ...]]:
    """Which share of rows has what the reference did not have, and examples, the commonest first."""
    rows = max(len(read), 1)
    if entry["kind"] == Kind.CATEGORICAL:
        if reference["other"]:  # it had others than it names, so that one of them says nothing
            return max(entry["other"] / rows - reference["other"] / max(int(cells(reference).sum()), 1), 0.0), ()
        counted = read.drop_nulls().value_counts(sort=True)
        new = counted.filter(~pl.col(read.name).is_in(["", *entry["categories"]]))[read.name].head(_EXAMPLES)
        return entry["other"] / rows, tuple(str(value)[:_LONGEST] for value in new)
    if entry["kind"] == Kind.BOOLEAN or not entry["edges"]:
        return 0.0, ()
    below, above = entry["counts"][0], entry["counts"][-1]
    ends = [("minimum", below), ("maximum", above)]
    return (below + above) / rows, tuple(_end(entry, end) for end, rows in ends if rows and entry[end] is not None)


def _end(entry: Profile, end: str) -> str:
    value = entry[end]
    if entry["kind"] == Kind.TIMESTAMP:
        return str(pl.Series([value]).cast(pl.Datetime("us")).item())
    return f"{value:g}"


def _of_another_type(column: Column, entry: Profile, stored: str) -> Shift:
    counts = cells(entry)
    return Shift(
        column=column.name,
        kind=column.kind,
        drifted=True,
        effect=1.0,
        log_e=0.0,
        log_threshold=0.0,
        missing_before=float(counts[-1] / max(counts.sum(), 1)),
        missing=1.0,
        unreadable=1.0,
        says=f"of type {stored}, which holds no {column.kind} values",
    )
