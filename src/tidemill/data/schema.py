"""The schema: which columns a table has, what their values are and what each is for.

A schema is inferred once (`infer.py`), shown, written to YAML, and can be pinned and edited there.
Everything later goes by it: checks, splits, preparation, the bundle's manifest, the server.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tidemill.data.scalars import clean
from tidemill.errors import SchemaError, listed
from tidemill.settings import Kind


class Role(StrEnum):
    """What a column is for. Only features (and the time column, when set so) reach the model."""

    FEATURE = "feature"
    TARGET = "target"
    KEY = "key"
    TIME = "time"
    GROUP = "group"
    WEIGHT = "weight"
    SENSITIVE = "sensitive"
    IGNORED = "ignored"


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column.

    `format` is the strptime pattern of timestamps stored as text (null: already a date or time type), or
    `epoch_s`, `epoch_ms`, `epoch_us` for whole numbers since 1970.
    `decimal_comma` marks numbers stored as text like "3,14", `thousands` what groups their digits, as in "1,234.5".
    `unit` is the text that may stand before or after each number, like "$" or "%" (12% is 12); `accounting` says that
    (12) and 12- are minus 12. `format` may hold several patterns, put apart by " | ": the first that fits is taken.
    `minimum`, `maximum` bound numeric values; `domain` lists the allowed categories.
    `missing_marks` are the texts that stand for a missing value, like "?"; the empty text always does.
    `numeric_categories` says of categories that they are numbers: 3, 3.0, "3" and "3.0" are the category "3".
    `earliest`, `latest` are the first and last timestamp of the training split, in ISO 8601: whole numbers in another
    unit than the column's are seen by them.
    `reason` says why inference ignored the column, or how it read it.
    `made_of` says of a column that the source does not have which parts and offsets it is made of (`made_moments.py`).
    """

    name: str
    kind: Kind
    role: Role = Role.FEATURE
    missing_allowed: bool = True
    minimum: float | None = None
    maximum: float | None = None
    domain: tuple[str, ...] | None = None
    format: str | None = None
    decimal_comma: bool = False
    thousands: str | None = None
    unit: str | None = None
    accounting: bool = False
    missing_marks: tuple[str, ...] = ()
    numeric_categories: bool = False
    earliest: str | None = None
    latest: str | None = None
    reason: str | None = None
    made_of: tuple[tuple[str, str | float], ...] = ()


_STORED = (
    *("missing_allowed", "minimum", "maximum", "format", "thousands", "unit", "earliest", "latest", "reason", "domain"),
    *("missing_marks", "decimal_comma", "accounting", "numeric_categories", "made_of"),
)
"""Fields of a column in the order in which files have them; those that are as by default are left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Schema:
    """All columns of a table, in the table's order."""

    columns: tuple[Column, ...]
    time_is_input: bool = False

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise SchemaError(
            "A column that is named must be in the table",
            observed=f"{name!r}; the table has {listed(column.name for column in self.columns)}",
            remedy="correct the name, or add the column",
        )

    def with_role(self, role: Role) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.role is role)

    def only(self, role: Role) -> Column | None:
        """The one column with a role that at most one column can have (target, key, time, …)."""
        found = self.with_role(role)
        return found[0] if found else None

    @property
    def inputs(self) -> tuple[Column, ...]:
        """What the model is fed with, and so what a request must hold: features, and time if set so."""
        return tuple(
            column
            for column in self.columns
            if column.role is Role.FEATURE or (column.role is Role.TIME and self.time_is_input)
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for YAML and JSON, defaults left out."""
        columns: dict[str, Any] = {}
        for column in self.columns:
            entry: dict[str, Any] = {"kind": str(column.kind), "role": str(column.role)}
            for name in _STORED:
                value, default = getattr(column, name), Column.__dataclass_fields__[name].default
                if value != default:
                    entry[name] = dict(value) if name == "made_of" else list(value) if type(value) is tuple else value
            columns[column.name] = entry
        return {"time_is_input": self.time_is_input, "columns": columns}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Schema":
        """The inverse of `to_dict`.

        Raises:
            SchemaError: a key or value that a schema cannot have, by column.
        """
        columns = []
        for name, entry in content.get("columns", {}).items():
            try:
                values = dict(entry)
                values["kind"] = Kind(values["kind"])
                values["role"] = Role(values.get("role", Role.FEATURE))
                for key in ("domain", "missing_marks"):
                    if values.get(key) is not None:
                        values[key] = tuple(dict.fromkeys(map(clean, _texts(values[key]))))
                for key in ("earliest", "latest"):
                    if values.get(key) is not None:
                        values[key] = str(values[key])  # YAML reads a moment where it has no quotes
                for key in ("minimum", "maximum"):
                    if values.get(key) is not None:
                        values[key] = float(values[key])
                values["made_of"] = tuple(dict(values.get("made_of", {})).items())
                columns.append(Column(name=str(name), **values))
            except (KeyError, TypeError, ValueError) as error:
                raise SchemaError(
                    "Each column of a schema needs a kind and may have role, missing_allowed, minimum, "
                    "maximum, domain, format, decimal_comma, thousands, unit, accounting, missing_marks, "
                    "numeric_categories and made_of",
                    observed=f"{name}: {entry} ({error})",
                    remedy="correct the entry, or leave data.schema unset to have the schema inferred",
                ) from error
        return cls(columns=tuple(columns), time_is_input=bool(content.get("time_is_input", False)))


def stands_in_json(name: str) -> bool:
    """Whether a name stands in JSON as it is; msgspec's typed decoders take no other."""
    return not any(letter in '\\"' or letter < " " for letter in name)


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list | tuple):
        raise ValueError("a list is needed")
    return tuple(str(value) for value in values)
