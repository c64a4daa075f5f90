"""From a table to its schema: kinds from the values, roles from the settings, and back and forth to YAML."""

import difflib
import logging
from dataclasses import replace

import polars as pl

from tidemill.data import made_moments, proposals, schema_file, sources
from tidemill.data.cells.parsing import TIMESTAMP
from tidemill.data.inference import facts, kinds, notations, relevance, remarks
from tidemill.data.inference.facts import Facts
from tidemill.data.reading import collect
from tidemill.data.schema import Column, Role, Schema
from tidemill.data.sources import files
from tidemill.errors import SchemaError, listed
from tidemill.settings import DataSettings, Kind
from tidemill.settings.overrides import override

LOG = logging.getLogger(__name__)


SHOWN_ROWS = 1_000
"""Rows that the kind of a column which is left out is read from."""


def infer(frame: pl.LazyFrame, settings: DataSettings) -> Schema:
    """The schema of `frame`; `data.schema` is read instead where it is set. Settings' roles and rules apply to both.

    Features that cannot help are ignored, with the reason: empty, constant, a name of the record, prose.

    Raises:
        SchemaError: a named column is absent, cannot be read as its kind, or has two roles; no feature or row is left.
    """
    names = frame.collect_schema().names()
    roles = check_names(settings, names)
    if settings.schema is not None:
        pinned = schema_file.read(settings.schema)
        columns = [replace(column, role=roles.get(column.name, column.role)) for column in pinned.columns]
        columns = [_stated(column, settings) for column in columns]
        there = {column.name for column in columns}
        columns += _left_out(frame, [name for name in names if name not in there], "not in the pinned schema").values()
        schema_file.check_single_roles(columns)
    else:
        columns = _inferred(frame, names, roles, settings)
        if proposal := proposals.moment(names, made_moments.declared(settings)):
            LOG.info("%s", proposal)
    columns = [_bounded(column, settings) for column in columns]
    schema = Schema(columns=tuple(columns), time_is_input=settings.time_is_input)
    if not schema.inputs:
        raise SchemaError(
            "A model needs at least one feature",
            observed=listed((f"{c.name}: {c.reason or c.role}" for c in schema.columns), joint="; "),
            remedy="name columns with data.kinds.COLUMN=KIND to keep them, or add columns",
        )
    return schema


def check_names(settings: DataSettings, names: list[str]) -> dict[str, Role]:
    """The roles that settings give; every column that these or a pinned schema name is among `names`.

    Raises:
        SchemaError: it is not, or it has two roles; or the pinned schema cannot be read.
    """
    roles = _roles(settings, names)
    if settings.schema is not None:
        for column in schema_file.read(settings.schema).columns:
            if column.role is not Role.IGNORED:
                _present(column.name, names, f"the schema {settings.schema}")
    return roles


def _inferred(frame: pl.LazyFrame, names: list[str], roles: dict[str, Role], settings: DataSettings) -> list[Column]:
    used = [name for name in names if roles.get(name) is not Role.IGNORED or name == settings.label_time]
    found = _with_marks_of_test(facts.count(frame, used, settings.missing_marks), settings)
    if used and found[used[0]].rows == 0:
        raise SchemaError("A table must have rows", observed="0 rows", remedy="check data.path, data.query, data.limit")
    wanted = dict(settings.kinds)
    for name, role in roles.items():
        if role is Role.KEY or (role is Role.TARGET and _names_classes(found[name])):
            wanted.setdefault(name, Kind.CATEGORICAL)
    stated = {name: notations.stated(name, text) for name, text in settings.formats.items() if name in found}
    wanted = {name: column.kind for name, column in stated.items()} | wanted
    times = [name for name, role in roles.items() if role is Role.TIME]
    decided = kinds.decide(frame, found, wanted, times, stated)
    made = _made(frame, settings)
    left_out = _left_out(frame, [name for name in names if name not in found], "named in data.ignored")
    columns = []
    for name in names:
        if name not in found:
            columns.append(left_out[name])
            continue
        column, fact = decided[name], found[name]
        if column is None:
            raise _unreadable(name, fact, wanted[name])
        role = roles.get(name, Role.FEATURE)
        if role is Role.TARGET:
            column = _classes_kept(column, fact, settings)
        if name == settings.label_time:
            column = replace(column, reason="says when the label came (data.label_time)")
        gaps = fact.present < fact.rows or bool(column.missing_marks)
        column = replace(column, role=role, missing_allowed=gaps, made_of=made.get(name, column.made_of))
        columns.append(_fit_for_role(remarks.with_reason(column, column.reason, remarks.missing(column, fact)), fact))
    settled = {*settings.kinds, *settings.formats}
    columns = relevance.ignore_useless(frame, columns, found, settled=settled, index=files.pandas_index(settings))
    return [replace(column, numeric_categories=_are_numbers(column, found.get(column.name))) for column in columns]


def _are_numbers(column: Column, fact: Facts | None) -> bool:
    """Whether nearly all categories of a column are numbers, stored as such or as text."""
    if column.kind is not Kind.CATEGORICAL or fact is None:
        return False
    return fact.dtype.is_numeric() or fact.numbers >= max(facts.READABLE * fact.present, 1)


def _with_marks_of_test(found: dict[str, Facts], settings: DataSettings) -> dict[str, Facts]:
    """The facts, with the marks of the separate test table as well: what it has more of is missing there too."""
    test = sources.open_separate(settings, "test")
    if test is None:
        return found
    there = [name for name, dtype in test.collect_schema().items() if name in found and dtype == found[name].dtype]
    more = facts.count(test, there, settings.missing_marks)
    return {name: fact.joined(more[name]) if name in more else fact for name, fact in found.items()}


def _classes_kept(column: Column, fact: Facts, settings: DataSettings) -> Column:
    """A class may be called NA or None: no label is dropped for its name."""
    if column.kind is not Kind.CATEGORICAL or column.name in settings.missing_marks:
        return column
    if marks := {mark: count for mark, count in fact.marks.items() if count}:
        shown = ", ".join(f"{mark!r} ({count:,} rows)" for mark, count in marks.items())
        LOG.warning(
            "The target %s has classes that are called like missing values: %s. They are classes; "
            "if these rows have no label: %s",
            column.name,
            shown,
            override("data.missing_marks", column.name, list(marks)),
        )
        column = replace(column, reason=f"has classes called {shown}")
    return replace(column, missing_marks=())


def _stated(column: Column, settings: DataSettings) -> Column:
    """A pinned column with the marks and the notation that settings give."""
    if column.name in settings.missing_marks:
        column = replace(column, missing_marks=tuple(settings.missing_marks[column.name]))
    if column.name in settings.formats:
        given = notations.stated(column.name, settings.formats[column.name])
        notation = ("kind", "format", "decimal_comma", "thousands", "unit", "accounting")
        column = replace(column, **{name: getattr(given, name) for name in notation})
    return column


def _made(frame: pl.LazyFrame, settings: DataSettings) -> dict[str, tuple[tuple[str, str | float], ...]]:
    """What the moments that `sources.open` added are made of."""
    dtypes = frame.collect_schema()
    moments = [moment for moment in made_moments.declared(settings) if dtypes.get(moment.name) == TIMESTAMP]
    return {moment.name: made_moments.noted(frame, moment).made_of for moment in moments}


def _left_out(frame: pl.LazyFrame, names: list[str], reason: str) -> dict[str, Column]:
    """Columns that nothing is learned from. Their kinds are only shown to people, so the first rows suffice."""
    if not names:
        return {}
    head = collect(frame.select(names).head(SHOWN_ROWS)).lazy()
    decided = kinds.decide(head, facts.count(head, names), {}, [])
    return {
        name: replace(column or Column(name=name, kind=Kind.CATEGORICAL), role=Role.IGNORED, reason=reason)
        for name, column in decided.items()
    }


def _names_classes(fact: Facts) -> bool:
    """Whether a text target's values are labels: "yes" and "no" stay, "true", "1" and "1,5" are read."""
    words = {text.strip().lower() for text in fact.sample}
    if fact.dtype != pl.String or fact.numbers or words <= {"true", "false"}:
        return False
    return not notations.numbers("text", fact.sample, plain=0)


def _fit_for_role(column: Column, fact: Facts) -> Column:
    observed = f"{column.name!r} is {column.kind}, with values like {listed(fact.first, 3, quoted=True)}"
    if column.role is Role.WEIGHT and column.kind is not Kind.NUMERIC:
        rule = "data.weight must name a numeric column"
        raise SchemaError(rule, observed=observed, remedy="name another column, or none")
    if column.role is Role.TIME and column.kind not in (Kind.TIMESTAMP, Kind.NUMERIC):
        rule = "data.time must name a column of timestamps or numbers"
        example = override("data.formats", column.name, "%d.%m.%Y")
        raise SchemaError(rule, observed=observed, remedy=f"name another column, or say how it is written: {example}")
    return column


def _unreadable(name: str, fact: Facts, kind: Kind) -> SchemaError:
    shown = listed(fact.first, 3, quoted=True) or "no value"
    return SchemaError(
        "A column must be readable as the kind that data.kinds or data.formats sets for it",
        observed=f"column {name!r} as {kind}: {shown}",
        remedy=f"correct that setting, or say how values are written with data.formats.{name}",
    )


def _roles(settings: DataSettings, names: list[str]) -> dict[str, Role]:
    """Role of every column that settings name, each once."""
    single = {Role.TARGET: "target", Role.KEY: "key", Role.TIME: "time", Role.GROUP: "group", Role.WEIGHT: "weight"}
    named = [(getattr(settings, key), role, f"data.{key}") for role, key in single.items() if getattr(settings, key)]
    named += [(name, Role.SENSITIVE, "data.sensitive") for name in settings.sensitive]
    named += [(name, Role.IGNORED, "data.ignored") for name in settings.ignored]
    named += [(settings.label_time, Role.IGNORED, "data.label_time")] if settings.label_time else []
    roles: dict[str, Role] = {}
    for name, role, key in named:
        _present(name, names, key)
        if roles.setdefault(name, role) is not role:
            raise SchemaError(
                "A column has one role",
                observed=f"{name!r} is {roles[name]} and {role}",
                remedy=f"take it out of one setting, for example {key}",
            )
    for key in ("kinds", "missing_marks", "formats", "quality.ranges", "quality.domains"):
        part = getattr(settings.quality if key.startswith("quality.") else settings, key.split(".")[-1])
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
        observed=f"{name!r}; the table has {listed(names)}",
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
