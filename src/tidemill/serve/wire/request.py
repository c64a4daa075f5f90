"""One request for predictions on its way through a replica, whatever protocol it came by.

These are msgspec's structs, as several are made for each request: a frozen dataclass takes fifteen times as long.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from tidemill.bundle.answers import Answers
from tidemill.bundle.manifest import Identity
from tidemill.data.raw import Raw
from tidemill.ledger.record import Answered, Form, Role
from tidemill.serve.wire.reader import Records


class Reply(msgspec.Struct, frozen=True, gc=False):
    """What leaves: HTTP status, body, and headers besides Content-Type and Content-Length."""

    body: bytes
    status: int = 200
    type: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Part(msgspec.Struct, frozen=True, gc=False):
    """Answers of one version to all rows of a request, or to those at the places `rows`."""

    answers: Answers
    identity: Identity
    role: Role
    rows: tuple[int, ...] | None = None


Encode = Callable[["Ask", Sequence[Part]], Any]
"""Makes the protocol's reply (a `Reply`, or gRPC's message); of several parts, each row is in exactly one."""


class Ask(msgspec.Struct, eq=False):
    """N rows that wait for answers.

    Args:
        id: the request's; its answers have f"{id}-{row}".
        at: arrival, nanoseconds since 1970; `arrived`: the same moment on the monotonic clock, seconds.
        count: N.
        records, raw: the rows, either as a Reader's records or as arrays by the raw input contract.
        form, inputs: the rows as the ledger keeps them.
        encode: None for a part of a request that is put together elsewhere, and for shadows.
        tosses: as the ledger keeps them.
        deadline: when an answer is of no more use, seconds on the monotonic clock.
        client: the name of the API key that asks.
        recorded: false for the one question that `tidemill serve` asks itself: it is nobody's record.
    """

    id: str
    at: int
    arrived: float
    count: int
    records: Records | None
    raw: Raw | None
    form: Form
    inputs: bytes
    encode: Encode | None = None
    deadline: float | None = None
    pinned: str | None = None
    keys: Sequence[str | None] | None = None
    rows: tuple[int, ...] | None = None
    role: Role = Role.CHAMPION
    propensity: float = 1.0
    tosses: tuple[bytes, ...] | None = None
    client: str | None = None
    recorded: bool = True
    answered: "asyncio.Future[Any] | None" = None

    def entry(self, version: str, answers: Answers, now: float) -> Answered:
        """As the ledger keeps it. now: seconds on the monotonic clock."""
        latency = int((now - self.arrived) * 1e6)
        return Answered(
            self.id,
            self.at,
            version,
            self.role,
            self.propensity,
            latency,
            self.form,
            self.inputs,
            self.rows,
            answers,
            self.tosses,
            self.client,
        )

    def settle(self, result: Any) -> None:
        """What waits for the answer gets it, or the error; nothing where the client has gone."""
        future = self.answered
        if future is None or future.done():
            return
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
