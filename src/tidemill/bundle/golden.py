"""Golden rows: raw records with the answers that this bundle must give, adversarial ones among them.

They are stored in golden.json, column by column, in standard JSON: a missing value is null, infinity
is the text "Infinity" or "-Infinity". They are replayed before a predictor says that it is ready.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tidemill.bundle.answers import Answers
from tidemill.data.cells.values import numeric_marks
from tidemill.data.raw import MISSING, MISSING_TIMESTAMP, Raw
from tidemill.data.schema import Column
from tidemill.errors import BundleError
from tidemill.settings import Kind

NAME = "golden.json"
TOLERANCE = 1e-5
"""Largest difference between machines: relative to the value or to the spread of all values, at least to 1."""

MOST_ROWS, MOST_VALUES = 256, 200_000
"""Bounds of the adversarial rows: rows, and rows × columns, as long as each column gets one row for each of its values
(which is more than MOST_VALUES from 20,000 columns on)."""
MOST_LONG_TEXTS, _SHORTENED = 32, 100
"""How many columns meet a text of 10,000 characters; in the others it has this many."""

_YEAR_1, _YEAR_9999 = -62_135_596_800_000_000, 253_402_300_799_999_999  # microseconds since 1970
_HOSTILE: dict[Kind, list[Any]] = {
    Kind.NUMERIC: [np.nan, np.inf, -np.inf, 0.0, -1.0, 1e300, 5e-324, 2.0**24 + 1, 2.0**53, -(2.0**53)],
    Kind.BOOLEAN: [np.nan, 0.0, 1.0],
    Kind.CATEGORICAL: ["", "never seen before", " ", "x" * 10_000, "Ünïcödé 漢字 🜁", "a\n\"b'\\\t;--"],
    Kind.TIMESTAMP: [MISSING_TIMESTAMP, _YEAR_1, _YEAR_9999, 0, -1],
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Golden:
    """Raw rows and their answers; the first `real` rows are records of the table."""

    raw: Raw
    answers: Answers
    real: int


def rows(sample: Raw, columns: Sequence[Column]) -> Raw:
    """The sample, then adversarial rows: its first record with hostile values in it, and one with all missing.

    Every column meets every hostile value of its kind. Each row has one of them while MOST_ROWS are enough for that.
    In wider tables columns share rows, and neighbours in a row begin their lists of values at different places: the
    file grows with the columns, and not with their square.

    Args:
        sample: a few records of the table (at least one).
        columns: the model's inputs.
    """
    lists = _lists(columns)
    longest = max(map(len, lists))
    groups = _groups(lists, longest)
    hostile = np.zeros(groups * longest, dtype=bool)
    result: Raw = {}
    for place, (column, values) in enumerate(zip(columns, lists, strict=True)):
        turn, group = divmod(place, groups)
        real = sample[column.name]
        extra = np.repeat(real[:1], len(hostile) + 1)
        for index, value in enumerate(values):
            row = group * longest + (index + turn) % longest
            extra[row], hostile[row] = value, True
        extra[-1] = MISSING[column.kind]
        result[column.name] = np.concatenate([real, extra])
    kept = np.concatenate([np.ones(len(real), dtype=bool), hostile, [True]])
    return {name: values[kept] for name, values in result.items()}


def _lists(columns: Sequence[Column]) -> list[list[Any]]:
    """The hostile values of each column; very long texts take room, so only some columns get one."""
    lists = [_hostile(column) for column in columns]
    categorical = [place for place, column in enumerate(columns) if column.kind is Kind.CATEGORICAL]
    for place in categorical[MOST_LONG_TEXTS:]:
        lists[place] = [value[:_SHORTENED] for value in lists[place]]
    return lists


def _groups(lists: list[list[Any]], longest: int) -> int:
    """How many groups of columns there are: those of one group share their rows."""
    if sum(map(len, lists)) <= MOST_ROWS:
        return len(lists)
    return max(1, min(MOST_ROWS, MOST_VALUES // len(lists)) // longest)


def _hostile(column: Column) -> list[Any]:
    if column.kind is Kind.CATEGORICAL:
        return [*_HOSTILE[column.kind], *column.missing_marks[:1]]
    return [*_HOSTILE[column.kind], *(numeric_marks(column)[:1] if column.kind is Kind.NUMERIC else ())]


def write(golden: Golden, path: Path) -> None:
    content = {
        "format": 1,
        "real": golden.real,
        "rows": {name: _encode(values) for name, values in golden.raw.items()},
        "answers": {name: _encode(values) for name, values in golden.answers.items()},
    }
    path.write_text(json.dumps(content, allow_nan=False, ensure_ascii=False), encoding="utf-8")


def read(path: Path, columns: Sequence[Column]) -> Golden:
    """The inverse of `write`; arrays get back the types of the raw contract and of the answers.

    Raises:
        BundleError: the file is missing or is not what `write` writes.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != 1:
            raise ValueError(f"format {content['format']!r}")
        kinds = {column.name: column.kind for column in columns}
        raw = {name: _decode(values, kinds[name]) for name, values in content["rows"].items()}
        answers = {
            name: np.array(values, dtype=object if isinstance(next(iter(values), None), str) else np.float32)
            for name, values in content["answers"].items()
        }
        return Golden(raw=raw, answers=answers, real=int(content["real"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            "A bundle's golden rows can be read",
            observed=f"{path}: {type(error).__name__}: {error}",
            remedy="use the version of Tidemill that wrote the bundle, or export it again",
        ) from error


def replay(run: Callable[[Raw], Answers], golden: Golden) -> None:
    """Ask for the golden rows and compare.

    Args:
        run: raw rows → answers; the predictor, or any other implementation of it.

    Raises:
        BundleError: an answer is not the recorded one; names the worst row.
    """
    got = run(golden.raw)
    for name, expected in golden.answers.items():
        wrong = ~same(got[name], expected)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise BundleError(
                "A bundle gives the answers recorded with its golden rows",
                observed=f"{int(wrong.sum())} of {len(wrong)} rows differ; golden row {row}: {name} is "
                f"{got[name][row]}, recorded as {expected[row]}",
                remedy="use the onnxruntime version named in the manifest, or export the bundle again",
            )


def same(got: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Row by row: labels equal, numbers within TOLERANCE. Shape [rows]."""
    if got.shape != expected.shape:
        return np.zeros(len(expected), dtype=bool)
    if expected.dtype == object:
        return np.asarray(got == expected, dtype=bool)
    scale = np.maximum(np.abs(expected), max(1.0, float(expected.std())) if len(expected) else 1.0)
    close = np.abs(got.astype(np.float64) - expected) <= TOLERANCE * scale
    return np.asarray(close.reshape(len(expected), -1).all(axis=1))


def _encode(values: np.ndarray) -> list[Any]:
    if values.dtype == np.int64:
        return [None if value == MISSING_TIMESTAMP else value for value in values.tolist()]
    if values.dtype == object or values.ndim > 1:
        return list(values.tolist())
    return [_number(value) for value in values.tolist()]


def _number(value: float) -> float | str | None:
    if value != value:
        return None
    return value if abs(value) != float("inf") else ("Infinity" if value > 0 else "-Infinity")


def _decode(values: list[Any], kind: Kind) -> np.ndarray:
    if kind is Kind.CATEGORICAL:
        return np.array(values, dtype=object)
    missing = MISSING[kind]
    kept = [missing if value is None else value for value in values]
    return np.array(kept, dtype=np.int64) if kind is Kind.TIMESTAMP else np.array(kept, dtype=np.float64)
