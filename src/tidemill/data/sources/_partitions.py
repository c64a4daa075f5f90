"""Columns in the names of folders, as Hive, Spark and Arrow write them: year=2022/month=01/part-0.parquet."""

import logging
import re
from collections.abc import Sequence
from pathlib import PurePath
from urllib.parse import unquote

import polars as pl

from tidemill.errors import listed

_PART = re.compile(r"([^=/\\]+)=([^/\\]*)")
_NOTHING = "__HIVE_DEFAULT_PARTITION__"

LOG = logging.getLogger(__name__)


def columns(files: Sequence[str]) -> list[dict[str, str | int | None]]:
    """Names and values that stand in each file's path. Values are whole numbers where all of a column's are."""
    found = [
        {unquote(match[1]): unquote(match[2]) for part in PurePath(file).parts[:-1] if (match := _PART.fullmatch(part))}
        for file in files
    ]
    names = dict.fromkeys(name for parts in found for name in parts)
    whole = {
        name: all(
            re.fullmatch(r"-?\d{1,15}", parts[name]) or parts[name] == _NOTHING for parts in found if name in parts
        )
        for name in names
    }

    def value(name: str, text: str | None) -> str | int | None:
        return None if text in (None, _NOTHING) else int(str(text)) if whole[name] else text

    return [{name: value(name, parts.get(name)) for name in names} for parts in found]


def add(frame: pl.LazyFrame, values: dict[str, str | int | None]) -> pl.LazyFrame:
    """The file's table with these columns, but for those that the file has itself."""
    there = frame.collect_schema().names()
    made = [pl.lit(value).alias(name) for name, value in values.items() if name not in there]
    return frame.with_columns(made) if made else frame


def report(found: Sequence[dict[str, str | int | None]]) -> None:
    """Say which columns stand in names of folders, with some values."""
    for name in found[0] if found else ():
        values = dict.fromkeys(parts[name] for parts in found)
        LOG.info("%s is a column by names of folders, with %s", name, listed(values, 5))
