"""One request for predictions, whole: each door builds it once, whatever its protocol, and nothing changes it after.

These are msgspec's structs, as several are made for each request: a frozen dataclass takes fifteen times as long.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from tidemill.bundle.answers import Answers
from tidemill.bundle.manifest import Identity
from tidemill.data.raw import Raw
from tidemill.ledger.frames import packed
from tidemill.ledger.record import Form, Role
from tidemill.serve.wire.reader import Records


class Reply(msgspec.Struct, frozen=True, gc=False):
    """What leaves: HTTP status, body, and headers besides Content-Type and Content-Length."""

    body: bytes
    status: int = 200
    type: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Answer(msgspec.Struct, frozen=True, gc=False):
    """Answers to all rows of a request. by: version and role for each row, where `identity` did not answer all."""

    answers: Answers
    identity: Identity
    role: Role
    by: Sequence[tuple[str, Role]] | None = None

    @property
    def rows(self) -> int:
        return len(next(iter(self.answers.values())))


class Rows(msgspec.Struct, frozen=True, eq=False, gc=False):
    """N rows that are to be answered.

    Args:
        count: N.
        records, raw: the values, either as a Reader's records or as arrays by the raw input contract.
        form, inputs: the values as the ledger keeps them.
        keys: that name the records, where the request gives them apart from its records.
    """

    count: int
    records: Records | None
    raw: Raw | None
    form: Form
    inputs: bytes
    keys: Sequence[str | None] | None = None


def rows_of_columns(
    count: int, raw: Raw, others: Mapping[str, list[Any]], keys: Sequence[str | None] | None = None
) -> Rows:
    """Rows that came as columns. others: of columns that are recorded and not fed to the model."""
    return Rows(count, None, raw, Form.COLUMNS, packed(dict(raw) | dict(others)), keys)


class Arrival(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A request's id, which nobody can guess in order to label its answers f"{id}-{row}", and when it came.

    Args:
        at: nanoseconds since 1970; clock: the same moment on the monotonic clock, seconds.
    """

    id: str = msgspec.field(default_factory=lambda: os.urandom(16).hex())
    at: int = msgspec.field(default_factory=time.time_ns)
    clock: float = msgspec.field(default_factory=time.monotonic)


Encode = Callable[[str, Answer], Any]
"""From a request's id and its answer to the reply as its protocol has it (a `Reply`, or gRPC's message)."""


class Request(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A request for predictions.

    Args:
        version: that must answer; None: whichever is in use.
        deadline: when an answer is of no more use, seconds on the monotonic clock.
        client: the name of the API key that it came with.
        recorded: false for the one question that `tidemill serve` asks itself: it is nobody's record.
    """

    rows: Rows
    encode: Encode
    version: str | None = None
    deadline: float | None = None
    client: str | None = None
    recorded: bool = True
    arrival: Arrival = msgspec.field(default_factory=Arrival)
