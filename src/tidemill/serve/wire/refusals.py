"""What one request may hold, and how a request is refused: the errors of every protocol, with their HTTP status."""

from dataclasses import dataclass
from typing import Annotated

import msgspec

from tidemill.errors import RequestError, TidemillError
from tidemill.settings.rules import Positive


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one request may hold, and how many seconds its body may take to arrive.

    held: bytes of bodies longer than 64 KiB that a replica has in hand at once, on their way or waiting for answers.
    """

    rows: Annotated[int, Positive] = 10_000
    bytes: Annotated[int, Positive] = 16 * 2**20
    seconds: Annotated[float, Positive] = 10.0
    held: Annotated[int, Positive] = 256 * 2**20


def too_large(limits: Limits, observed: str) -> RequestError:
    rule = f"A request holds at most {limits.rows} rows and {limits.bytes} bytes"
    return refused(413, rule, observed, "send the rows in several requests")


def refused(status: int, rule: str, observed: str, remedy: str) -> RequestError:
    error = RequestError(rule, observed=observed, remedy=remedy)
    error.status = status
    return error


def overloaded(rule: str, observed: str, seconds: float) -> RequestError:
    """503. seconds: until it may well be otherwise."""
    error = refused(503, rule, observed, "try again after the seconds that Retry-After gives")
    error.retry_after = max(1, round(seconds))
    return error


def encode_error(error: TidemillError) -> bytes:
    return msgspec.json.encode({"error": {"rule": error.rule, "observed": error.observed, "remedy": error.remedy}})
