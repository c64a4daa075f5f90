"""Reading what is compared for drift: a table by its own schema or a bundle's, and a bundle's reference profile.

Nothing is set aside: what breaks a rule of training is what is looked for.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import polars as pl

from tidemill.bundle import folder, manifest
from tidemill.data.cells import values
from tidemill.data.infer import infer
from tidemill.data.profiles.profile import Profile, profile
from tidemill.data.reading import collect
from tidemill.data.schema import Column, Role, Schema
from tidemill.data.sources import files
from tidemill.errors import BundleError, SchemaError
from tidemill.settings import DataSettings

WORDS = {
    "data.path must exist": "A table that is named must exist",
    "data.path and data.format, and ": "",
    "data.path": "its name",
    "data.format": "its ending",
}
"""Errors of the sources speak of training's settings; these are the words here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """ignored: columns that are not compared. optional: those that a table need not have, like the target."""

    profile: Profile
    schema: Schema
    ignored: tuple[str, ...]
    optional: tuple[str, ...]


def of_bundle(place: Path) -> Reference:
    """
    Raises:
        BundleError: the folder is no bundle, or its profile is none.
    """
    described = manifest.read(place)
    try:
        known = json.loads((place / folder.PROFILE).read_text(encoding="utf-8"))["inputs"]
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(
            "A bundle has a reference profile", observed=f"{place / folder.PROFILE}: {error}", remedy="export it again"
        ) from error
    target = tuple(column.name for column in described.schema.with_role(Role.TARGET))
    ignored = tuple(column.name for column in described.schema.columns)
    return Reference(profile=known, schema=described.schema, ignored=ignored, optional=target)


def of_table(path: str) -> Reference:
    frame = opened(path)
    schema = infer(frame, _nothing_set(path))
    columns = tuple(open_minded(column) for column in schema.inputs)
    table, _, _ = read(frame, columns, frame.collect_schema())
    ignored = tuple(column.name for column in schema.columns)
    known = profile(table, replace(schema, columns=columns))
    return Reference(profile=known, schema=replace(schema, columns=columns), ignored=ignored, optional=())


def _nothing_set(path: str) -> DataSettings:
    """Training's settings of a table of which nobody says anything but where it is."""
    unset: dict[str, Any] = dict.fromkeys(each.name for each in fields(DataSettings))
    columns: dict[str, Any] = {name: {} for name in ("kinds", "missing_marks", "formats", "moments", "options")}
    limits = SimpleNamespace(ranges={}, domains={})
    said = {"source": "files", "path": path, "format": "auto", "sensitive": [], "ignored": [], "time_is_input": False}
    return cast(DataSettings, SimpleNamespace(**{**unset, **columns, **said, "quality": limits}))


def opened(path: str) -> pl.LazyFrame:
    return files.table(path, "auto", files.Options())


def open_minded(column: Column) -> Column:
    """The column without the rules that rows were held to in training."""
    return replace(column, role=Role.FEATURE, missing_allowed=True, minimum=None, maximum=None, domain=None)


def read(
    frame: pl.LazyFrame, columns: Sequence[Column], stored: Mapping[str, pl.DataType]
) -> tuple[pl.DataFrame, dict[str, float], dict[str, str]]:
    """The columns by their kinds, the share of each that cannot be read so, and the types of those that cannot be."""
    readings, lost, unfit = [], [], {}
    for column in columns:
        dtype = stored[column.name]
        try:
            reading = values.read(column, dtype)
        except SchemaError:
            unfit[column.name] = str(dtype)
            continue
        readings.append(reading)
        lost.append((reading.is_null() & values.present(column, dtype).is_not_null()).mean().alias(column.name))
    table = collect(frame.select(readings)) if readings else pl.DataFrame()
    shares = (
        collect(frame.select(lost)).row(0, named=True) if lost and table.height else dict.fromkeys(table.columns, 0)
    )
    return table, {name: float(share or 0) for name, share in shares.items()}, unfit
