"""A version in a replica's hands: predictor, reader, and what turns a batch of requests into answers."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from tidemill.bundle.answers import Answers, names
from tidemill.bundle.predictor import Predictor
from tidemill.data.raw import Raw, missing
from tidemill.errors import RequestError
from tidemill.ledger import keys
from tidemill.ledger.record import Described
from tidemill.serve.answering.assignment import Assignment
from tidemill.serve.answering.batcher import Cost
from tidemill.serve.wire import protocol
from tidemill.serve.wire.feedback import LabelRules
from tidemill.serve.wire.inference.requests import Decoder
from tidemill.serve.wire.inference.statistics import Statistics
from tidemill.serve.wire.reader import Reader, Unplain
from tidemill.serve.wire.refusals import Limits, refused
from tidemill.serve.wire.request import Rows

_MANY = 256
"""Rows with which the cost of a row is measured."""


@dataclass(frozen=True, slots=True)
class Computed:
    """A batch's answers, joined. places: where each request's rows lie in them, or why it has none."""

    raw: Raw
    answers: Answers
    places: list[slice | RequestError]


class Version:
    """One loaded bundle. `compute` is safe to call from several threads.

    Args:
        bundle, threads, provider, public_key: see `Predictor`.

    Raises:
        BundleError, SettingsError: as `Predictor`.
    """

    def __init__(
        self,
        bundle: Path,
        *,
        threads: int | None = None,
        provider: str = "cpu",
        public_key: Path | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.predictor = Predictor(bundle, threads=threads, provider=provider, public_key=public_key)
        self.identity = self.predictor.manifest.identity
        self.number = str(self.identity.version)
        self.schema = self.predictor.manifest.schema
        self.key = keys.column(self.schema)
        self.label_rules = LabelRules.of(self.predictor.manifest.identity, self.schema)
        self.reader = Reader(self.schema)
        self._limits = limits or Limits()
        outputs = names(self.identity.objective)
        self.decoder = Decoder(self.schema.inputs, outputs, others=self.reader.others, limits=self._limits)
        self.statistics = Statistics()
        self.cost = self._measured()

    @property
    def described(self) -> Described:
        """What the ledger must know to read this version's entries."""
        return Described(
            version=self.number,
            schema=self.schema.to_dict(),
            objective=str(self.identity.objective),
            classes=tuple(self.identity.classes),
        )

    def compute(self, assigned: Sequence[Assignment]) -> Computed:
        """Answers to all rows of all requests in one run; a request that cannot be answered takes no other with it."""
        now = time.monotonic()
        raws: list[Raw] = []
        places: list[slice | RequestError] = []
        if all(
            one.rows.records is not None and (one.request.deadline is None or one.request.deadline > now)
            for one in assigned
        ):
            try:  # the common case: one turn of every step for the whole batch
                raws.append(self.reader.raw([record for one in assigned for record in one.rows.records or ()]))
                places.extend(_slices([one.rows.count for one in assigned]))
            except Unplain:
                raws.clear()
        if not raws:
            begin = 0
            for one in assigned:
                try:
                    raws.append(self._raw_in_time(one, now))
                    places.append(slice(begin, begin + one.rows.count))
                    begin += one.rows.count
                except RequestError as error:
                    places.append(error)
        raw = _joined(raws) if raws else self.reader.checked([])
        return Computed(raw, self.predictor.predict(raw), places)

    def executed(self, settled: Sequence[tuple[Assignment, Any]], rows: int, begun: float, ended: float) -> None:
        """Count a batch of `rows` that ran from `begun` to `ended` (monotonic, seconds).

        settled: requests, each with what it gets; who gets an exception has not been answered.
        """
        answered = 0
        for one, result in settled:
            arrived = one.request.arrival.clock
            whole = int((ended - arrived) * 1e9)
            if isinstance(result, Exception):
                self.statistics.failed(whole)
            else:
                answered += 1
                self.statistics.succeeded(int((begun - arrived) * 1e9), whole)
        if answered:
            self.statistics.executed(rows, answered, int((ended - begun) * 1e9))

    def raw_of(self, rows: Rows) -> Raw:
        """A request's rows as arrays.

        Raises:
            RequestError: a value that no model could take.
        """
        if rows.raw is not None:
            return rows.raw
        try:
            return self.reader.raw(rows.records or [])
        except Unplain:
            again, _ = protocol.reread(rows.inputs, self.reader, self._limits)
            return again.raw or {}

    def adapted(self, raw: Raw) -> Raw:
        """Rows that were read by another version's columns: what is not among them counts as missing."""
        count = len(next(iter(raw.values())))
        return {
            column.name: raw[column.name] if column.name in raw else missing(column.kind, count)
            for column in self.predictor.columns
        }

    def _raw_in_time(self, one: Assignment, now: float) -> Raw:
        request = one.request
        if request.deadline is not None and request.deadline <= now:
            late = f"it had waited {now - request.arrival.clock:.3f} s"
            raise refused(504, "A request is answered before its deadline", late, "allow more time, or retry")
        return self.raw_of(one.rows)

    def _measured(self) -> Cost:
        golden = self.predictor.golden.raw
        one = {name: values[:1] for name, values in golden.items()}
        many = {name: np.resize(values, _MANY) for name, values in golden.items()}
        short, long = (min(self._timed(raw) for _ in range(3)) for raw in (one, many))
        return Cost(fixed=short, per_row=max(long - short, 0.0) / _MANY)

    def _timed(self, raw: Raw) -> float:
        begun = time.perf_counter()
        self.predictor.predict(raw)
        return time.perf_counter() - begun


def _slices(counts: Sequence[int]) -> list[slice]:
    ends = accumulate(counts)
    return [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]


def _joined(raws: Sequence[Raw]) -> Raw:
    if len(raws) == 1:
        return raws[0]
    return {name: np.concatenate([raw[name] for raw in raws]) for name in raws[0]}
