"""How a file's columns are read by a bundle's schema, settled from its first rows before any work is done."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import polars as pl

from tidemill.bulk.inputs import File
from tidemill.data import made_moments
from tidemill.data.cells import values
from tidemill.data.schema import Column, Role, Schema
from tidemill.errors import SchemaError, SettingsError, listed


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """files: with heads of no rows. schemas: of the model's inputs, by file.

    kept: copied columns and their types, which all files' parts share.
    """

    files: tuple[File, ...]
    schemas: tuple[Schema, ...]
    kept: dict[str, pl.DataType]


def settle(files: Iterable[File], schema: Schema, keep: Sequence[str] | None, answers: Sequence[str]) -> Reading:
    """Check every file's columns and settle how they are read.

    Args:
        files: one at a time, since the first rows of many are many rows.
        schema: the bundle's.
        keep: columns to copy; None takes the schema's key if every file has it.
        answers: the columns that each part gets; no other may have such a name.

    Raises:
        SchemaError: a file lacks an input, or has values of a type that no input of that kind can have.
        SettingsError: a file lacks a column to keep, or that has an answer's name.
    """
    schemas, light = [], []
    for file in files:
        schemas.append(_fitted(schema, file))
        light.append(replace(file, head=file.head.clear()))
    heads = {file.path: file.head for file in light if file.head.width}
    asked = [column.name for column in schema.with_role(Role.KEY)] if keep is None else list(dict.fromkeys(keep))
    if keep is None:
        asked = [name for name in asked if all(name in head.columns for head in heads.values())]
    if taken := [name for name in asked if name in answers]:
        raise SettingsError(
            f"Columns that are kept have other names than a part's own ({', '.join(answers)})",
            observed=listed(taken, quoted=True),
            remedy="rename them in the files, or name others with --keep (none of them: --keep alone)",
        )
    for path, head in heads.items():
        for name in asked:
            if name not in head.columns:
                raise _no_kept(path, name, head.columns)
    types = {name: {_type(file, name) for file in light if file.head.width} for name in asked}
    kept = {name: found.pop() if len(found) == 1 else pl.String() for name, found in types.items()}
    return Reading(files=tuple(light), schemas=tuple(schemas), kept=kept)


def _check_inputs(path: str, head: pl.DataFrame, inputs: Sequence[Column]) -> None:
    there = set(head.columns)
    absent = [column.name for column in inputs if column.name not in there]
    if absent:
        near = difflib.get_close_matches(absent[0], head.columns, n=1, cutoff=0.6)
        made = {
            c.name: ", ".join(made_moments.Moment(name=c.name, made_of=c.made_of).columns) for c in inputs if c.made_of
        }
        raise SchemaError(
            "A file must have every column that the model was trained on",
            observed=f"no column {listed(absent, quoted=True)} in {path}, which has {listed(head.columns)}",
            remedy=(f"is {near[0]!r} meant by {absent[0]!r}? " if near else "")
            + "Add the column, empty where no value is known"
            + "".join(f", or {parts}, which {name!r} is made of" for name, parts in made.items() if name in absent[:1]),
        )


def _no_kept(path: str, name: str, columns: Sequence[str]) -> SettingsError:
    near = difflib.get_close_matches(name, columns, n=1, cutoff=0.4)
    return SettingsError(
        "Columns that are kept must be in every file",
        observed=f"no column {name!r} in {path}",
        remedy=f"did you mean --keep {near[0]}?" if near else f"the columns are {listed(columns)}",
    )


def _type(file: File, name: str) -> pl.DataType:
    """Text where types are guessed from values, which may be others further down."""
    found = file.head.schema[name]
    return pl.String() if file.in_lines or values.unreadable(found) else found


def _fitted(schema: Schema, file: File) -> Schema:
    """The schema of the inputs alone.

    Raises:
        SchemaError: a column is not there, or nothing of its type can be read as its kind.
    """
    if file.head.width:  # lines of JSON without a row have no columns
        head = made_moments.of_schema(file.head.lazy(), schema.inputs).collect()
        _check_inputs(file.path, head, schema.inputs)
        types = head.schema
        for column in schema.inputs:
            values.read(column, types[column.name])
    return replace(schema, columns=schema.inputs)


def answer_columns(classes: Sequence[str]) -> list[str]:
    """A part's own columns: where the row came from, and what the model says about it."""
    answers = ["label", *(f"probability_{name}" for name in classes)] if classes else ["value", "lower", "upper"]
    return ["file", "row", *answers]
