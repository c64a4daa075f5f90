"""A record's own key (the schema's key column), as the ledger keeps it and as labels name it.

However it is sent and stored, one key has one text: 7, 7.0, "7" and "7.0" are the same key, and "007" is another. What
what its settings say of the key's column holds for the key: as it is, as a keyed digest, or not at all.
"""

import re
from typing import Any

from tidemill.data.schema import Column, Role, Schema
from tidemill.ledger.masking import digests, masking_of
from tidemill.ledger.settings import LedgerSettings, Masking

_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+", re.ASCII)


def column(schema: Schema) -> Column | None:
    """The key's column; None where a model has none."""
    return schema.only(Role.KEY)


def text(value: Any) -> str | None:
    """A key as text; None: it is missing."""
    if value is None or value != value:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    written = str(value).encode(errors="replace").decode()  # half a character, as JSON can have it, is no text
    whole = _WHOLE.fullmatch(written)  # as a column of whole numbers is written once one of them is missing
    return (whole[1] if whole else written) or None


def masked(column: Column, settings: LedgerSettings, key: bytes, value: Any) -> str | None:
    """A key as the tables have it; None: it is missing or masked."""
    written, how = text(value), masking_of(column, settings)
    if written is None or how is Masking.MASK:
        return None
    return digests([written], key)[written] if how is Masking.HASH else written
