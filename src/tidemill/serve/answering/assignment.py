"""Which version answers a request, or some of its rows, and where the result goes."""

import asyncio
from typing import Any

import msgspec

from tidemill.bundle.answers import Answers
from tidemill.bundle.manifest import Identity
from tidemill.ledger.record import Answered, Role
from tidemill.serve.wire.request import Answer, Request, Rows


class Assignment(msgspec.Struct, frozen=True, eq=False):
    """A request's rows, as far as one version answers them.

    Args:
        rows: the request's, or some of them: their numbers are then `places`.
        propensity, tosses: as the ledger keeps them.
        result: the reply to the request; the `Answer` where it is about some of its rows; or the error.
    """

    request: Request
    rows: Rows
    role: Role = Role.CHAMPION
    propensity: float = 1.0
    tosses: tuple[bytes, ...] | None = None
    places: tuple[int, ...] | None = None
    result: "asyncio.Future[Any]" = msgspec.field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def count(self) -> int:
        return self.rows.count

    def reply(self, identity: Identity, answers: Answers) -> Any:
        """What waits for these answers, or the error that making it ended with."""
        answer = Answer(answers, identity, self.role)
        if self.places is not None:
            return answer
        try:
            return self.request.encode(self.request.arrival.id, answer)
        except Exception as error:  # must not end the others' requests
            return error

    def entry(self, version: str, answers: Answers, now: float) -> Answered:
        """As the ledger keeps it. now: seconds on the monotonic clock."""
        arrival, rows = self.request.arrival, self.rows
        return Answered(
            arrival.id,
            arrival.at,
            version,
            self.role,
            self.propensity,
            int((now - arrival.clock) * 1e6),
            rows.form,
            rows.inputs,
            self.places,
            answers,
            self.tosses,
            self.request.client,
        )

    def settle(self, result: Any) -> None:
        """Nothing where the client has gone."""
        if self.result.done():
            return
        if isinstance(result, Exception):
            self.result.set_exception(result)
        else:
            self.result.set_result(result)
