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
from tidemill.serve.answering.batcher import Cost
from tidemill.serve.wire import protocol
from tidemill.serve.wire.feedback import LabelRules
from tidemill.serve.wire.inference.requests import Decoder
from tidemill.serve.wire.inference.statistics import Statistics
from tidemill.serve.wire.reader import Reader, Unplain
from tidemill.serve.wire.refusals import Limits, refused
from tidemill.serve.wire.request import Ask

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

    def compute(self, asks: Sequence[Ask]) -> Computed:
        """Answers to all rows of all requests in one run; a request that cannot be answered takes no other with it."""
        now = time.monotonic()
        raws: list[Raw] = []
        places: list[slice | RequestError] = []
        if all(ask.records is not None and (ask.deadline is None or ask.deadline > now) for ask in asks):
            try:  # the common case: one turn of every step for the whole batch
                raws.append(self.reader.raw([record for ask in asks for record in ask.records or ()]))
                places.extend(_slices([ask.count for ask in asks]))
            except Unplain:
                raws.clear()
        if not raws:
            begin = 0
            for ask in asks:
                try:
                    raws.append(self._raw_of(ask, now))
                    places.append(slice(begin, begin + ask.count))
                    begin += ask.count
                except RequestError as error:
                    places.append(error)
        raw = _joined(raws) if raws else self.reader.checked([])
        return Computed(raw, self.predictor.predict(raw), places)

    def executed(self, settled: Sequence[tuple[Ask, Any]], rows: int, begun: float, ended: float) -> None:
        """Count a batch of `rows` that ran from `begun` to `ended` (monotonic, seconds).

        settled: requests, each with what it gets; who gets an exception has not been answered.
        """
        answered = 0
        for ask, result in settled:
            whole = int((ended - ask.arrived) * 1e9)
            if isinstance(result, Exception):
                self.statistics.failed(whole)
            else:
                answered += 1
                self.statistics.succeeded(int((begun - ask.arrived) * 1e9), whole)
        if answered:
            self.statistics.executed(rows, answered, int((ended - begun) * 1e9))

    def raw_of(self, ask: Ask) -> Raw:
        """One request's rows as arrays.

        Raises:
            RequestError: a value that no model could take.
        """
        if ask.raw is not None:
            return ask.raw
        try:
            return self.reader.raw(ask.records or [])
        except Unplain:
            return protocol.reread(ask.inputs, self.reader, self._limits).raw or {}

    def adapted(self, raw: Raw) -> Raw:
        """Rows that were read by another version's columns: what is not among them counts as missing."""
        count = len(next(iter(raw.values())))
        return {
            column.name: raw[column.name] if column.name in raw else missing(column.kind, count)
            for column in self.predictor.columns
        }

    def _raw_of(self, ask: Ask, now: float) -> Raw:
        if ask.deadline is not None and ask.deadline <= now:
            late = f"it had waited {now - ask.arrived:.3f} s"
            raise refused(504, "A request is answered before its deadline", late, "allow more time, or retry")
        return self.raw_of(ask)

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
