"""Small typed tables and settings for the tests of data checks."""

import polars as pl

from tidemill.data.schema import Column, Role, Schema
from tidemill.data.tables import Quarantined, Tables, with_null
from tidemill.data.target import Target
from tidemill.settings import (
    AbsentClasses,
    DataSettings,
    Duplicates,
    Kind,
    Objective,
    QualitySettings,
    SplitMethod,
    SplitSettings,
)

KINDS = {pl.Float64: Kind.NUMERIC, pl.Boolean: Kind.BOOLEAN, pl.String: Kind.CATEGORICAL}


def split_settings(method: SplitMethod = SplitMethod.RANDOM, **others: object) -> SplitSettings:
    values = {
        "validation": 0.2,
        "test": 0.2,
        "seed": 0,
        "validation_from": None,
        "test_from": None,
        "absent_classes": AbsentClasses.STOP,
        **others,
    }
    return SplitSettings(method=method, **values)  # type: ignore[arg-type]


def data_settings(
    *, split: SplitSettings | None = None, test_path: str | None = None, **quality: object
) -> DataSettings:
    rules = {
        "max_missing": 0.5,
        "leak_threshold": 0.98,
        "allow_leaks": [],
        "allow_personal": [],
        "max_quarantined": 0.05,
        "ranges": {},
        "domains": {},
        "duplicates": Duplicates.KEEP,
        "max_repeated": 0.3,
        **quality,
    }
    unset = dict.fromkeys(
        (
            "path",
            "validation_path",
            "connection",
            "query",
            "limit",
            "schema",
            "target",
            "positive",
            "key",
            "time",
            "label_time",
            "mature_share",
            "group",
            "weight",
        )
    )
    return DataSettings(
        source="files",
        test_path=test_path,
        format="auto",
        options={},
        objective=Objective.AUTO,
        time_is_input=False,
        sensitive=[],
        ignored=[],
        kinds={},
        missing_marks={},
        formats={},
        moments={},
        split=split or split_settings(),
        quality=QualitySettings(**rules),  # type: ignore[arg-type]
        **unset,  # type: ignore[arg-type]
    )


def schema_of(table: pl.DataFrame, **roles: Role) -> Schema:
    """The schema that the dtypes tell; `roles` by column, all others are features."""
    return Schema(
        columns=tuple(
            Column(
                name=name,
                kind=Kind.TIMESTAMP if dtype.is_temporal() else KINDS[type(dtype)],
                role=roles.get(name, Role.FEATURE),
            )
            for name, dtype in table.schema.items()
        )
    )


def tables(
    train: pl.DataFrame,
    *,
    target: str | None = None,
    objective: Objective = Objective.BINARY,
    validation: pl.DataFrame | None = None,
    test: pl.DataFrame | None = None,
    quarantined: int = 0,
    settings: DataSettings | None = None,
    **roles: Role,
) -> Tables:
    if target is not None:
        roles[target] = Role.TARGET
    return Tables(
        train=with_null(train),
        validation=with_null(train.clear() if validation is None else validation),
        test=with_null(train.clear() if test is None else test),
        quarantined=(
            (Quarantined(part="data.path", rows=quarantined, of=quarantined + train.height, reasons=("x: missing",)),)
            if quarantined
            else ()
        ),
        schema=schema_of(train, **roles),
        settings=settings or data_settings(),
        target=None if target is None else Target(name=target, objective=objective, classes=()),
    )
