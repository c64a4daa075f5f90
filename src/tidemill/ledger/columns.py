"""Entries as columns: the rows that the two tables get, but for what the fields of `inputs` are called there.

answers: id, key (of the record), request, row, at, day, model, version, role, propensity, toss, client, latency_us,
inputs, label, probabilities, classes, value, lower, upper. labels: id or key, label (of a class) or value, at
(received), event_at, client, day. Days are UTC dates of `at`. Labels have no column of keys until the first label comes
by one.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import polars as pl

from tidemill.data.cells.parsing import TIMESTAMP
from tidemill.ledger.frames import Entry
from tidemill.ledger.inputs import KEY, Inputs
from tidemill.ledger.masking import digests
from tidemill.ledger.record import Answered, Described, Form, Label

GIVEN = "\0given"
"""Marks the rows that have inputs of their own."""
_CHUNK = 8192
"""Requests that are made columns of at once: bounds the memory that their values take as Python objects."""

ANSWERS = {
    "id": pl.String(),
    "key": pl.String(),
    "request": pl.String(),
    "row": pl.Int32(),
    "at": TIMESTAMP,
    "day": pl.Date(),
    "model": pl.String(),
    "version": pl.String(),
    "role": pl.String(),
    "propensity": pl.Float64(),
    "toss": pl.String(),
    "client": pl.String(),
    "latency_us": pl.Int64(),
    "label": pl.String(),
    "probabilities": pl.List(pl.Float32),
    "classes": pl.List(pl.String),
    "value": pl.Float32(),
    "lower": pl.Float32(),
    "upper": pl.Float32(),
}
"""All but `inputs`, whose fields are the columns that were given."""
LABELS = {
    "id": pl.String(),
    "label": pl.String(),
    "value": pl.Float64(),
    "at": TIMESTAMP,
    "event_at": TIMESTAMP,
    "client": pl.String(),
    "day": pl.Date(),
}

InputsOf = Callable[[Described], Inputs]


class Segment:
    """The rows of one segment.

    Args:
        entries: in order; a description before the first answer of its version.
        inputs_of: what reads the inputs of a version's requests.
        key: for digests.
    """

    def __init__(self, entries: Iterable[Entry], model: str, inputs_of: InputsOf, key: bytes) -> None:
        self.unread = 0
        """Requests whose inputs could not be read; their answers have null inputs."""
        self._model, self._inputs_of, self._key = model, inputs_of, key
        self._described: dict[str, Described] = {}
        answers: list[pl.DataFrame] = []
        labels: list[Label] = []
        waiting: defaultdict[tuple[Any, ...], list[Answered]] = defaultdict(list)
        for entry in entries:
            if isinstance(entry, Answered):
                chunk = waiting[entry.version, entry.form, *entry.answers]
                chunk.append(entry)
                if len(chunk) == _CHUNK:
                    answers += self._frames(chunk)
                    chunk.clear()
            elif isinstance(entry, Label):
                labels.append(entry)
            else:
                self._described[entry.version] = entry
        for chunk in waiting.values():
            answers += self._frames(chunk)
        self.answers = pl.concat(answers, how="diagonal") if answers else pl.DataFrame()
        self.labels = labelled([kept for label in labels for kept in self._kept(label)]) if labels else pl.DataFrame()

    def _kept(self, label: Label) -> list[Label]:
        """A label by key once for each form in which versions' keys are kept: they may be masked otherwise."""
        if label.key is None:
            return [label]
        kept = (self._inputs_of(version).key(label.key) for version in self._described.values())
        return [msgspec.structs.replace(label, key=key) for key in dict.fromkeys(kept) if key is not None]

    def _frames(self, requests: list[Answered]) -> Iterator[pl.DataFrame]:
        """One frame, or several small ones around a request that cannot be read."""
        if not requests:
            return
        described = self._described.get(requests[0].version)
        given = self._inputs_of(described).read(requests) if described else None
        if given is None and described and len(requests) > 1:
            middle = len(requests) // 2
            yield from self._frames(requests[:middle])
            yield from self._frames(requests[middle:])
            return
        frame = _answers(requests, self._model, described, self._key)
        if given is None:
            self.unread += len(requests)
            yield frame.with_columns(pl.lit(False).alias(GIVEN))
        else:
            if KEY in given.columns:
                frame, given = frame.with_columns(given[KEY].alias("key")), given.drop(KEY)
            yield frame.hstack(given).with_columns(pl.lit(requests[0].form is not Form.NONE).alias(GIVEN))


def _answers(requests: Sequence[Answered], model: str, described: Described | None, key: bytes) -> pl.DataFrame:
    """Everything but the inputs, in the order of the requests and their rows."""
    counts = [len(next(iter(one.answers.values()), ())) for one in requests]
    per_request = pl.DataFrame(
        {
            "request": pl.Series([one.id for one in requests], dtype=pl.String),
            "at": pl.Series([one.at // 1000 for one in requests], dtype=pl.Int64).cast(TIMESTAMP),
            "role": pl.Series([one.role.value for one in requests], dtype=pl.String),
            "propensity": pl.Series([one.propensity for one in requests], dtype=pl.Float64),
            "client": pl.Series([one.client for one in requests], dtype=pl.String),
            "latency_us": pl.Series([one.latency for one in requests], dtype=pl.Int64),
        }
    )
    if any(count != 1 for count in counts):
        per_request = per_request[np.repeat(np.arange(len(counts)), counts)]
    rows = [
        row
        for one, count in zip(requests, counts, strict=True)
        for row in (range(count) if one.rows is None else one.rows)
    ]
    height = per_request.height
    classes = list(described.classes) if described and described.classes else None
    frame = per_request.with_columns(
        pl.Series("row", rows, dtype=pl.Int32),
        _tosses(requests, counts, key),
        pl.col("at").dt.date().alias("day"),
        pl.lit(model).alias("model"),
        pl.lit(requests[0].version).alias("version"),
        pl.Series("classes", [classes], dtype=pl.List(pl.String)).new_from_index(0, height),
        *(_answer(name, [one.answers[name] for one in requests]) for name in requests[0].answers),
    ).with_columns(pl.concat_str("request", pl.lit("-"), "row").alias("id"))
    return frame.select(
        pl.col(name).cast(dtype) if name in frame.columns else pl.lit(None, dtype).alias(name)
        for name, dtype in ANSWERS.items()
    )


def _tosses(requests: Sequence[Answered], counts: Sequence[int], key: bytes) -> pl.Series:
    """A digest of each row's toss, or null: a toss tells of the record's key, to who guesses it."""
    if all(one.tosses is None for one in requests):
        return pl.Series("toss", [None], dtype=pl.String).new_from_index(0, sum(counts))
    tosses = [toss for one, count in zip(requests, counts, strict=True) for toss in one.tosses or [None] * count]
    digest = digests({toss.hex() for toss in tosses if toss is not None}, key)
    return pl.Series("toss", [None if toss is None else digest[toss.hex()] for toss in tosses], dtype=pl.String)


def _answer(name: str, parts: list[np.ndarray]) -> pl.Series:
    array = np.concatenate(parts)
    if array.dtype == np.object_:
        return pl.Series(name, array.tolist(), dtype=pl.String)
    if array.ndim == 1:
        return pl.Series(name, array, dtype=pl.Float32)
    return pl.Series(name, array.astype(np.float32, copy=False)).arr.to_list()


def labelled(labels: Sequence[Label]) -> pl.DataFrame:
    """Rows of the table of labels."""
    frame = pl.DataFrame(
        {
            "id": pl.Series([one.id for one in labels], dtype=pl.String),
            "label": pl.Series([one.label if isinstance(one.label, str) else None for one in labels], dtype=pl.String),
            "value": pl.Series([None if isinstance(one.label, str) else one.label for one in labels], dtype=pl.Float64),
            "at": _moments([one.at for one in labels]),
            "event_at": _moments([one.event_at for one in labels]),
            "client": pl.Series([one.client for one in labels], dtype=pl.String),
        }
    )
    if any(one.key is not None for one in labels):
        frame = frame.with_columns(pl.Series("key", [one.key for one in labels], dtype=pl.String))
    return frame.with_columns(pl.col("at").dt.date().alias("day"))


def _moments(nanoseconds: list[Any]) -> pl.Series:
    return pl.Series([None if one is None else one // 1000 for one in nanoseconds], dtype=pl.Int64).cast(TIMESTAMP)
