"""What the ledger keeps: answers given, labels received, and the descriptions that make both readable."""

from enum import StrEnum
from typing import Any

import msgspec

from tidemill.bundle.answers import Answers
from tidemill.bundle.manifest import Manifest


class Role(StrEnum):
    """In which part a version answered. A shadow's answers are recorded and never returned."""

    CHAMPION = "champion"
    CANARY = "canary"
    SHADOW = "shadow"


class Form(StrEnum):
    """How `Answered.inputs` holds the raw values.

    ROWS: JSON text `{"rows": [{column: value, …}, …], …}`, as a client sent it.
    COLUMNS: MessagePack of {column: [value, …]}, by the raw input contract (see `tidemill.data.raw`).
    NONE: nothing; the champion's entry of the same id has them (shadows).
    """

    ROWS = "rows"
    COLUMNS = "columns"
    NONE = "none"


# One is made for every request: a frozen dataclass takes 16 times as long.
class Answered(msgspec.Struct, frozen=True, gc=False):
    """The answers of one version to one request.

    Args:
        id: of the request; the answer to its row i has the id f"{id}-{i}".
        at: when the request arrived, nanoseconds since 1970-01-01 UTC.
        version, role, propensity: who answered; the probability with which chance chose that version for these rows.
        latency: microseconds from arrival until this entry was written.
        form, inputs: the raw values, see `Form`; all rows of the request.
        rows: which rows of the request these answers belong to; None: all of them, in order.
        answers: by name, one array each.
        tosses: while a canary runs, what each of these rows was sent by, in the same order: equal where one toss, of
            one key, sent several. None: not by chance.
        client: the name of the API key that asked; None: there was none.
    """

    id: str
    at: int
    version: str
    role: Role
    propensity: float
    latency: int
    form: Form
    inputs: bytes
    rows: tuple[int, ...] | None
    answers: Answers
    tosses: tuple[bytes, ...] | None = None
    client: str | None = None


class Label(msgspec.Struct, frozen=True):
    """What turned out to be true of one answered record, or of every answer to the record with this key.

    Args:
        id: of the answer, as the client received it; None: `key` says of which record.
        label: the class's name, or the value.
        at: when it was received, nanoseconds since 1970.
        event_at: when it came true, where the client said so.
        key: of the record, as `tidemill.ledger.keys.text` writes it.
        client: the label holds for this client's answers only; None: for everybody's.
    """

    id: str | None
    label: str | float
    at: int
    event_at: int | None = None
    key: str | None = None
    client: str | None = None


class Described(msgspec.Struct, frozen=True):
    """A version as the ledger must know it to make columns of its entries.

    Args:
        schema: `Schema.to_dict()` of all columns, other than the inputs too.
        classes: in the order of `probabilities`; empty for regression.
    """

    version: str
    schema: dict[str, Any]
    objective: str
    classes: tuple[str, ...]

    @classmethod
    def of(cls, manifest: Manifest) -> "Described":
        identity = manifest.identity
        return cls(str(identity.version), manifest.interface.schema, str(identity.objective), tuple(identity.classes))
