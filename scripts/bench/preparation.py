"""Rows per second of the preparation against scikit-learn's ColumnTransformer doing the same, on the flights table.

    python scripts/bench/preparation.py [--rows 336776] [--turns 10]
    python scripts/bench/preparation.py --quick

Both are fitted on the same training rows, found to give the same numbers, and then take turns over the whole table:
ours from a Polars frame to float32 and int64 matrices, scikit-learn's from a pandas frame to its matrix. The best of
the turns counts. Then the time of one call with one row, as a server makes it. A quick run takes one turn over
10,000 flights.
"""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import polars as pl
from parts.benchmark import Options, report
from sklearn.compose import ColumnTransformer
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder, StandardScaler

from tidemill.data.raw import from_table
from tidemill.data.schema import Column, Schema
from tidemill.data.sources import flights
from tidemill.preparation.fit import fit
from tidemill.preparation.run import Preparation
from tidemill.settings import (
    CalendarPart,
    CategoricalSettings,
    DataSettings,
    Imputation,
    Kind,
    NumericSettings,
    PreparationSettings,
    Scaling,
    TimestampSettings,
)

TARGETS = {"ratio": {"at_least": 5.0}}
TIME = "scheduled_departure"
PARTS = {CalendarPart.MINUTE_OF_DAY: 1440, CalendarPart.WEEKDAY: 7, CalendarPart.DAY_OF_YEAR: 366}
SETTINGS = PreparationSettings(
    numeric=NumericSettings(
        missing=Imputation.MEDIAN,
        missing_value=0.0,
        missing_indicator=True,
        scaling=Scaling.STANDARD,
        quantiles=1000,
        clip=None,
        log=[],
    ),
    categorical=CategoricalSettings(min_count=1, max_categories=100_000),
    timestamp=TimestampSettings(parts=list(PARTS), cyclic=True, elapsed=False),
    features=[],
    columns={},
)


def flights_table() -> pl.DataFrame:
    """The inputs of the flights job, typed."""
    settings = cast(DataSettings, SimpleNamespace(options={}))
    table = flights.read(settings).drop("flight_id", "disrupted", "flight_number", "plane_model").collect()
    return table.with_columns(pl.selectors.numeric().cast(pl.Float64))


def schema_of(table: pl.DataFrame) -> Schema:
    kinds = {pl.Float64: Kind.NUMERIC, pl.String: Kind.CATEGORICAL, pl.Datetime: Kind.TIMESTAMP}
    return Schema(columns=tuple(Column(name=name, kind=kinds[kind.base_type()]) for name, kind in table.schema.items()))


def calendar(frame: pd.DataFrame) -> np.ndarray:
    moment = frame[TIME].dt
    counts = (moment.hour * 60 + moment.minute, moment.day_of_week, moment.day_of_year - 1)
    angles = [2 * np.pi * part.to_numpy() / period for part, period in zip(counts, PARTS.values(), strict=True)]
    return np.stack([np.sin(angle) for angle in angles] + [np.cos(angle) for angle in angles], axis=1)


def column_transformer(numbers: list[str], texts: list[str]) -> ColumnTransformer:
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
            ("missing", MissingIndicator(features="missing-only", error_on_new=False), numbers),
            ("time", FunctionTransformer(calendar), [TIME]),
            ("texts", encoder, texts),
        ]
    )


def check_equal(preparation: Preparation, ours: pl.DataFrame, theirs: np.ndarray, train: pl.DataFrame) -> None:
    """Numbers within 1e-5; codes up to a renaming."""
    prepared = preparation.run_table(ours)
    numbers = [name for name, kind in ours.schema.items() if kind == pl.Float64]
    names = [*numbers, *(f"{name} (missing)" for name in numbers if train[name].null_count())]
    forms = ("sine", "cosine")
    names += [f"{TIME} ({part.replace('_', ' ')}, {form})" for form in forms for part in PARTS]
    order = [preparation.numeric_names.index(name) for name in names]
    np.testing.assert_allclose(prepared.numeric[:, order], theirs[:, : len(names)], rtol=1e-5, atol=1e-5)
    for code, other in zip(prepared.categorical.T, theirs[:, len(names) :].T, strict=True):
        pairs = pl.DataFrame({"code": code, "other": other}).unique()
        assert pairs["code"].is_unique().all() and pairs["other"].is_unique().all()


def take_turns(jobs: dict[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """The shortest time of each job, in seconds."""
    best = dict.fromkeys(jobs, float("inf"))
    for _ in range(turns):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def microseconds_per_call() -> float:
    """The median over 2,000 calls with one row of 20 columns, 8 of them text."""
    rng = np.random.default_rng(0)
    numbers = {f"n{i}": rng.normal(size=1000) for i in range(12)}
    texts = {f"t{i}": rng.choice([f"category {i}" for i in range(50)], 1000) for i in range(8)}
    table = pl.DataFrame(numbers | texts)
    preparation = fit(table, schema_of(table), SETTINGS)
    row = from_table(table.head(1), preparation.inputs)
    times = []
    for _ in range(2_000):
        start = time.perf_counter()
        preparation.run(row)
        times.append(time.perf_counter() - start)
    return float(np.median(times) * 1e6)


def main() -> None:
    parser = Options(__doc__)
    parser.add_argument("--rows", type=int, default=336_776, help="of the year's flights, spread over it")
    parser.add_argument("--turns", type=int, default=10)
    chosen = parser.chosen(rows=10_000, turns=1)
    whole = flights_table()
    table = whole.gather_every(max(1, whole.height // chosen.rows))
    train = table.filter(pl.col(TIME) < pl.datetime(2013, 6, 1))
    preparation = fit(train, schema_of(table), SETTINGS)
    numbers = [name for name, kind in table.schema.items() if kind == pl.Float64]
    texts = [name for name, kind in table.schema.items() if kind == pl.String]
    frame = pd.DataFrame(
        {name: table[name].to_list() if name in texts else table[name].to_numpy() for name in table.columns}
    )
    transformer = column_transformer(numbers, texts).fit(frame.head(train.height))
    check_equal(preparation, table, transformer.transform(frame), train)

    seconds = take_turns(
        {
            "tidemill, run_table": lambda: preparation.run_table(table),
            "tidemill, from_table and run": lambda: preparation.run(from_table(table, preparation.inputs)),
            "scikit-learn": lambda: transformer.transform(frame),
        },
        chosen.turns,
    )
    rows = {name: table.height / second for name, second in seconds.items()}
    print(f"{table.height:,} flights: {len(numbers)} numeric, {len(texts)} categorical, 1 timestamp column")
    for name, rate in rows.items():
        print(f"{name:30}{rate:12,.0f} rows/s {rate / rows['scikit-learn']:6.2f} ×")
    call = microseconds_per_call()
    print(f"one row of 20 columns, 8 of them text: {call:.0f} µs a call")
    ratio = rows["tidemill, run_table"] / rows["scikit-learn"]
    figures = {
        "rows_per_second": round(rows["tidemill, run_table"]),
        "rows_per_second_by_arrays": round(rows["tidemill, from_table and run"]),
        "rows_per_second_scikit_learn": round(rows["scikit-learn"]),
        "ratio": round(ratio, 2),
        "microseconds_per_call": round(call),
    }
    report(__file__, figures, TARGETS)


if __name__ == "__main__":
    main()
