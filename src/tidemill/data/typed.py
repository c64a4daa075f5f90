"""From a source's values to a typed table, by the schema. Rows that the schema cannot read are set aside."""

from dataclasses import dataclass

import polars as pl

from tidemill.data.cells import values
from tidemill.data.reading import collect
from tidemill.data.schema import Column, Role, Schema
from tidemill.errors import SchemaError, listed
from tidemill.settings import Kind

REASON = "quarantined_because"
"""Column of the quarantined rows that says what was wrong with them."""

_FOUND = "found\0"
_READ = "read\0"
_BAD = "bad\0"


@dataclass(frozen=True, kw_only=True, slots=True)
class TypedTable:
    """table: every readable row, one column per schema column that is not ignored, in the schema's order and dtypes.

    quarantined: every other row as the source gave it, with the column `REASON`.
    """

    table: pl.DataFrame
    quarantined: pl.DataFrame


def apply(frame: pl.LazyFrame, schema: Schema) -> TypedTable:
    """Read `frame` by `schema`, keeping the order of rows; ignored columns are not read at all.

    Quarantined are rows with a value that cannot be read as its column's kind, that breaks minimum, maximum
    or domain, or is missing where that is not allowed (always so for target, time and weight).

    Raises:
        SchemaError: a column is absent, or its type can hold no value of its kind.
        SourceError: the source fails while it is being read.
    """
    columns = [column for column in schema.columns if column.role is not Role.IGNORED]
    dtypes = _dtypes(frame, columns)
    names = [column.name for column in columns]
    # stages: Polars would read a value again for every rule about it
    stored = frame.select(names)
    found = stored.with_columns(
        values.present(column, dtypes[column.name]).alias(_FOUND + column.name) for column in columns
    )
    read = found.with_columns(
        values.read(column, dtypes[column.name], of=_FOUND + column.name).alias(_READ + column.name)
        for column in columns
    )
    broken = [rule for column in columns for rule in _rules(column)]
    bad = pl.any_horizontal([pl.lit(False), *(mask for mask, _ in broken)])
    result = collect(read.select(*(pl.col(_READ + name).alias(name) for name in names), bad.alias(_BAD)))
    table, is_bad = result.drop(_BAD), result[_BAD]
    if not is_bad.any():
        nothing = collect(stored.clear()).with_columns(pl.lit(None, pl.String).alias(REASON))
        return TypedTable(table=table, quarantined=nothing)
    reason = pl.concat_str([pl.when(mask).then(said) for mask, said in broken], separator="; ", ignore_nulls=True)
    quarantined = collect(read.filter(bad).select(*names, reason.alias(REASON)))
    return TypedTable(table=table.filter(~is_bad), quarantined=quarantined)


def _dtypes(frame: pl.LazyFrame, columns: list[Column]) -> dict[str, pl.DataType]:
    found = frame.collect_schema()
    absent = [column.name for column in columns if column.name not in found]
    if absent:
        raise SchemaError(
            "A table must have every column of its schema that is not ignored",
            observed=f"no column {listed(absent, quoted=True)} among {listed(found)}",
            remedy="add the column, give it the role `ignored`, or infer a new schema (data.schema=null)",
        )
    return {column.name: found[column.name] for column in columns}


def _rules(column: Column) -> list[tuple[pl.Expr, pl.Expr]]:
    """(mask of rows that break a rule, text of the reason) for every rule of the column."""
    name = column.name
    stored = pl.col(name)
    value = pl.col(_READ + name)
    empty = pl.col(_FOUND + name).is_null()
    rules = [(value.is_null() & ~empty, _reason(name, stored, f"cannot be read as {column.kind}"))]
    if not column.missing_allowed or column.role in (Role.TARGET, Role.TIME, Role.WEIGHT):
        rules.append((empty, pl.lit(f"{name}: missing")))
    if column.role is Role.WEIGHT:
        rules.append(((value < 0) | value.is_infinite(), _reason(name, stored, "is not a weight (0 or greater)")))
    if column.minimum is not None:
        rules.append((value < column.minimum, _reason(name, stored, f"is below the minimum {column.minimum:g}")))
    if column.maximum is not None:
        rules.append((value > column.maximum, _reason(name, stored, f"is above the maximum {column.maximum:g}")))
    if column.domain is not None:
        rules.append((~value.is_in(_domain(column)), _reason(name, stored, "is not in the domain")))
    return [(mask.fill_null(False), reason) for mask, reason in rules]


def _domain(column: Column) -> list[str] | list[float] | list[bool]:
    assert column.domain is not None
    try:
        if column.kind is Kind.NUMERIC:
            return [float(value) for value in column.domain]
        if column.kind is Kind.BOOLEAN:
            return [{"true": True, "false": False}[value.lower()] for value in column.domain]
    except (ValueError, KeyError) as error:
        raise SchemaError(
            f"A domain must list values of the column's kind ({column.kind})",
            observed=f"{column.name}: {listed(column.domain)}",
            remedy=f"correct data.quality.domains.{column.name} or the domain in the pinned schema",
        ) from error
    return list(column.domain)


def _reason(name: str, stored: pl.Expr, text: str) -> pl.Expr:
    shown = stored.cast(pl.String, strict=False).str.slice(0, 60)
    return pl.concat_str(pl.lit(f"{name}: '"), shown, pl.lit(f"' {text}"))
