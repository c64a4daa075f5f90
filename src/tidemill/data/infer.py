"""From a table to its schema: kinds from the values, roles from the settings, and back and forth to YAML."""

import difflib
from dataclasses import replace
from pathlib import Path

import polars as pl
import yaml

from tidemill.data import facts, kinds, relevance
from tidemill.data.facts import Facts
from tidemill.data.schema import Column, Role, Schema
from tidemill.errors import SchemaError
from tidemill.settings import DataSettings, Kind

HEADER = """\
# The schema of a table. Pin it with data.schema=<this file>; edit what inference got wrong.
#   kind: numeric, categorical, boolean, timestamp
#   role: feature, target, key, time, group, weight, sensitive, ignored
#   missing_allowed: false stands where the table had no missing value; such rows are quarantined, such requests refused
#   minimum, maximum (numeric), domain (allowed values): rows outside are quarantined
#   missing_marks: texts that mean "no value"; the empty text always does
#   format (timestamps as text), decimal_comma, thousands (numbers as text): how values are written
"""


def infer(frame: pl.LazyFrame, settings: DataSettings) -> Schema:
    """The schema of `frame`; `data.schema` is read instead where it is set. Settings' roles and rules apply to both.

    Features that cannot help are ignored, with the reason: empty, constant, a name of the record, prose.

    Raises:
        SchemaError: a named column is absent, cannot be read as its kind, or has two roles; no feature or row is left.
    """
    names = frame.collect_schema().names()
    roles = _roles(settings, names)
    if settings.schema is not None:
        pinned = read_yaml(settings.schema)
        absent = [column.name for column in pinned.columns if column.role is not Role.IGNORED]
        for name in absent:
            _present(name, names, f"the schema {settings.schema}")
        columns = [replace(column, role=roles.get(column.name, column.role)) for column in pinned.columns]
        there = {column.name for column in columns}
        columns += [Column(name=n, kind=Kind.CATEGORICAL, role=Role.IGNORED, reason="not in the pinned schema")
                    for n in names if n not in there]  # fmt: skip
        columns = _one_each(columns)
    else:
        columns = _inferred(frame, names, roles, settings)
    columns = [_bounded(column, settings) for column in columns]
    schema = Schema(columns=tuple(columns), time_is_input=settings.time_is_input)
    if not schema.inputs:
        raise SchemaError(
            "A model needs at least one feature",
            observed="; ".join(f"{c.name}: {c.reason or c.role}" for c in schema.columns),
            remedy="name columns with data.kinds.COLUMN=KIND to keep them, or add columns",
        )
    return schema


def check_names(settings: DataSettings, names: list[str]) -> None:
    """Every column that the settings or a pinned schema name is among `names`.

    Raises:
        SchemaError: it is not, or it has two roles; or the pinned schema cannot be read.
    """
    _roles(settings, names)
    if settings.schema is not None:
        for column in read_yaml(settings.schema).columns:
            if column.role is not Role.IGNORED:
                _present(column.name, names, f"the schema {settings.schema}")


def _inferred(frame: pl.LazyFrame, names: list[str], roles: dict[str, Role], settings: DataSettings) -> list[Column]:
    used = [name for name in names if roles.get(name) is not Role.IGNORED]
    found = facts.count(frame, used)
    if used and found[used[0]].rows == 0:
        raise SchemaError("A table must have rows", observed="0 rows", remedy="check data.path, data.query, data.limit")
    wanted = dict(settings.kinds)
    for name, role in roles.items():
        if name in wanted or role is Role.IGNORED:
            continue
        if role is Role.KEY or (role is Role.TARGET and _names_classes(found[name])):
            wanted[name] = Kind.CATEGORICAL
    decided = kinds.decide(frame, found, wanted, [name for name, role in roles.items() if role is Role.TIME])
    columns = []
    for name in names:
        if name not in found:
            columns.append(Column(name=name, kind=Kind.CATEGORICAL, role=Role.IGNORED, reason="named in data.ignored"))
            continue
        column, fact = decided[name], found[name]
        if column is None:
            raise _unreadable(name, fact, wanted[name])
        gaps = fact.present < fact.rows or bool(column.missing_marks)
        column = replace(column, role=roles.get(name, Role.FEATURE), missing_allowed=gaps)
        columns.append(_fit_for_role(column, fact))
    return relevance.ignore_useless(frame, columns, found, settled=set(settings.kinds))


def _names_classes(fact: Facts) -> bool:
    """Whether a text target's values are labels: "yes" and "no" stay, "true", "1" and "1,5" are read."""
    words = {text.strip().lower() for text in fact.sample}
    read = words <= {"true", "false"} or kinds.written_as_numbers(fact)
    return fact.dtype == pl.String and fact.numbers == 0 and not read


def _fit_for_role(column: Column, fact: Facts) -> Column:
    if column.role is Role.WEIGHT and column.kind is not Kind.NUMERIC:
        raise SchemaError(
            "data.weight must name a numeric column",
            observed=f"{column.name!r} is {column.kind}, with values like {', '.join(map(repr, fact.first[:3]))}",
            remedy="name another column, or none",
        )
    if column.role is Role.TIME and column.kind not in (Kind.TIMESTAMP, Kind.NUMERIC):
        raise SchemaError(
            "data.time must name a column of timestamps or numbers",
            observed=f"{column.name!r} is {column.kind}, with values like {', '.join(map(repr, fact.first[:3]))}",
            remedy="name another column, or pin a schema with the column's format",
        )
    return column


def _unreadable(name: str, fact: Facts, kind: Kind) -> SchemaError:
    shown = ", ".join(map(repr, fact.first[:3])) or "no value"
    return SchemaError(
        "A column must be readable as the kind that data.kinds sets for it",
        observed=f"column {name!r} as {kind}: {shown}",
        remedy=f"correct data.kinds.{name}, or pin a schema with the column's format",
    )


def _roles(settings: DataSettings, names: list[str]) -> dict[str, Role]:
    """Role of every column that settings name, each once."""
    single = {Role.TARGET: "target", Role.KEY: "key", Role.TIME: "time", Role.GROUP: "group", Role.WEIGHT: "weight"}
    named = [(getattr(settings, key), role, f"data.{key}") for role, key in single.items() if getattr(settings, key)]
    named += [(name, Role.SENSITIVE, "data.sensitive") for name in settings.sensitive]
    named += [(name, Role.IGNORED, "data.ignored") for name in settings.ignored]
    roles: dict[str, Role] = {}
    for name, role, key in named:
        _present(name, names, key)
        if roles.setdefault(name, role) is not role:
            raise SchemaError(
                "A column has one role",
                observed=f"{name!r} is {roles[name]} and {role}",
                remedy=f"take it out of one setting, for example {key}",
            )
    for key in ("kinds", "quality.ranges", "quality.domains"):
        part = settings.kinds if key == "kinds" else getattr(settings.quality, key.split(".")[1])
        for name in part:
            _present(name, names, f"data.{key}")
    return roles


def _present(name: str, names: list[str], key: str) -> None:
    if name in names:
        return
    folded = {known.casefold(): known for known in names}
    near = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.4)
    raise SchemaError(
        f"A column that {key} names must be in the table",
        observed=f"{name!r}; the table has {', '.join(names)}",
        remedy=f"did you mean {folded[near[0]]!r}?" if near else "correct the name, or add the column",
    )


def _bounded(column: Column, settings: DataSettings) -> Column:
    """The column with the bounds that data.quality sets."""
    name = column.name
    if name in settings.quality.ranges:
        ends = settings.quality.ranges[name]
        if column.kind is not Kind.NUMERIC:
            raise SchemaError(
                "A range is for numeric columns",
                observed=f"data.quality.ranges.{name} = {ends}, and the column is {column.kind}",
                remedy=f"use data.quality.domains.{name}, or set data.kinds.{name}=numeric",
            )
        column = replace(column, minimum=ends[0], maximum=ends[1])
    if name in settings.quality.domains:
        column = replace(column, domain=tuple(_text(value) for value in settings.quality.domains[name]))
    return column


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _one_each(columns: list[Column]) -> list[Column]:
    for role in (Role.TARGET, Role.KEY, Role.TIME, Role.GROUP, Role.WEIGHT):
        holders = [column.name for column in columns if column.role is role]
        if len(holders) > 1:
            raise SchemaError(
                f"At most one column has the role {role}",
                observed=" and ".join(map(repr, holders)),
                remedy=f"make data.{role} and the pinned schema agree",
            )
    return columns


def read_yaml(path: str | Path) -> Schema:
    """A pinned schema.

    Raises:
        SchemaError: the file is absent, not YAML, or says what a schema cannot say.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SchemaError(
            "data.schema must name a readable YAML file",
            observed=f"{path}: {str(error).splitlines()[0]}",
            remedy="correct the path or the file, or set data.schema=null to infer a schema",
        ) from error
    columns = content.get("columns") if isinstance(content, dict) else None
    if not isinstance(columns, dict) or not columns:
        raise SchemaError(
            "A schema must list its columns under `columns`",
            observed=f"{path} has none",
            remedy="set data.schema=null once to have a schema inferred and written, and start from that",
        )
    schema = Schema.from_dict(content)
    _one_each(list(schema.columns))
    return schema


def write_yaml(schema: Schema, path: str | Path) -> None:
    """Write a schema for people to read, edit and pin."""
    text = yaml.safe_dump(schema.to_dict(), sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    Path(path).write_text(HEADER + text, encoding="utf-8")
