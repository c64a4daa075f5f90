"""Simple models fitted on the training split, to stand beside ours on the same test rows.

They are made from the typed table by themselves, not from our preparation, so that a fault there
cannot hide in both.

- trivial: the class frequencies, or the mean;
- linear: logistic or ridge regression on standardised numbers and one-hot categories;
- boosting: LightGBM with its own defaults, categories as they are.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from tidemill.data.schema import Schema
from tidemill.data.target import Labels
from tidemill.evaluation.comparison import compare
from tidemill.evaluation.intervals import Bootstrap
from tidemill.evaluation.metrics import Measured, measure, stand
from tidemill.evaluation.results import Answered, Answers, Baseline
from tidemill.settings import BaselineName, Kind, Objective

MOST_CATEGORIES = 500
"""Of each column, by frequency in training; the others count as missing."""

LINEAR_ROWS = 200_000
"""Training rows of the linear baseline, drawn at random where there are more: it learns little from them."""

LINEAR_STEPS = 50

MANY_TREE_ROWS = 1_000_000
"""Rows times classes from which boosting uses all cores: below, threads that wait for each other on a busy
machine cost more than they gain (127,000 rows of 26 columns: 2.4 s with one)."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Columns:
    """Inputs as plain numbers, fitted on the training split.

    numeric: float64 [rows, N], NaN missing; timestamps as minute of the day, weekday and day of the year.
    categorical: int64 [rows, C], codes by frequency in training, −1 missing, unseen or too rare.
    """

    numeric: np.ndarray
    categorical: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Problem:
    """What a baseline is given: inputs of both splits, labels of the training split."""

    objective: Objective
    classes: int
    train: Columns
    labels: Labels
    test: Columns
    seed: int


def run(
    names: list[BaselineName],
    schema: Schema,
    train: tuple[pl.DataFrame, Labels],
    test: pl.DataFrame,
    ours: Answered,
    main: Measured,
    bootstrap: Bootstrap,
) -> tuple[Baseline, ...]:
    """Fit each baseline and compare ours with it; trivial is always the first.

    Args:
        train, test: typed tables; `ours` is about the rows of `test`, and `main` what was measured of it.
    """
    table, labels = train
    problem = Problem(
        objective=ours.objective,
        classes=0 if ours.objective is Objective.REGRESSION else ours.probabilities.shape[1],
        train=columns(table, table, schema),
        labels=labels,
        test=columns(table, test, schema),
        seed=bootstrap.seed,
    )
    found = []
    for name in dict.fromkeys([BaselineName.TRIVIAL, *names]):
        theirs = Answered(objective=ours.objective, labels=ours.labels, answers=BASELINES[name](problem))
        comparison = compare(ours, theirs, level=bootstrap.level, seed=bootstrap.seed)
        measured = measure(theirs, bootstrap)
        standing = stand(main, measured, bootstrap.level)
        found.append(Baseline(name=str(name), metrics=measured.metrics, comparison=comparison, standing=standing))
    return tuple(found)


def columns(train: pl.DataFrame, table: pl.DataFrame, schema: Schema) -> Columns:
    """`table` as numbers, with the categories of `train`."""
    numeric: list[np.ndarray] = []
    categorical: list[np.ndarray] = []
    for column in schema.inputs:
        values = table[column.name]
        if column.kind is Kind.CATEGORICAL:
            categorical.append(_codes(train[column.name], values))
        elif column.kind is Kind.TIMESTAMP:
            minute = values.dt.hour().cast(pl.Float64) * 60 + values.dt.minute()
            numeric += [_numbers(part) for part in (minute, values.dt.weekday(), values.dt.ordinal_day())]
        else:
            numeric.append(_numbers(values))
    return Columns(
        numeric=np.stack(numeric, axis=1) if numeric else np.empty((len(table), 0)),
        categorical=np.stack(categorical, axis=1) if categorical else np.empty((len(table), 0), np.int64),
    )


def _numbers(values: pl.Series) -> np.ndarray:
    numbers = np.array(values.cast(pl.Float64).to_numpy(), dtype=np.float64)
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers


def _codes(train: pl.Series, values: pl.Series) -> np.ndarray:
    # By frequency and then by name, so that the same rows always get the same codes.
    counts = train.rename("value").drop_nulls().value_counts().sort(["count", "value"], descending=[True, False])
    kept = [value for value in counts["value"].head(MOST_CATEGORIES).to_list() if value != ""]
    codes = values.cast(pl.Enum(kept), strict=False).to_physical().cast(pl.Int64).fill_null(-1)
    return codes.to_numpy()


def trivial(problem: Problem) -> Answers:
    """Class frequencies in training, one row added to each so that none is impossible; or the mean."""
    rows = len(problem.test.numeric)
    if problem.objective is Objective.REGRESSION:
        return {"value": np.full(rows, problem.labels.mean())}
    counts = np.bincount(problem.labels, minlength=problem.classes) + 1.0
    return {"probabilities": np.tile(counts / counts.sum(), (rows, 1))}


def linear(problem: Problem) -> Answers:
    """Logistic regression, or ridge regression, a penalty of 1 and missing numbers at their mean."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge

    rows = np.arange(len(problem.labels))
    if len(rows) > LINEAR_ROWS:
        rows = np.sort(np.random.default_rng(problem.seed).choice(rows, LINEAR_ROWS, replace=False))
    train, test = (_one_hot(problem.train, part) for part in (problem.train, problem.test))
    if problem.objective is Objective.REGRESSION:
        model: Any = Ridge(alpha=1.0, solver="lsqr")
    else:
        model = LogisticRegression(C=1.0, max_iter=LINEAR_STEPS, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the step limit is meant
        model.fit(train[rows], problem.labels[rows])
    return _answers(model, test, problem)


def _one_hot(train: Columns, part: Columns) -> Any:
    """A sparse matrix: standardised numbers, a mark where one is missing, and a column for each category."""
    from scipy import sparse

    present = ~np.isnan(train.numeric)
    some = np.maximum(present.sum(axis=0), 1)
    mean = np.where(present, train.numeric, 0.0).sum(axis=0) / some
    spread = np.sqrt(np.where(present, np.square(train.numeric - mean), 0.0).sum(axis=0) / some)
    scaled = (part.numeric - mean) / np.where(spread > 0, spread, 1.0)
    marked = np.isnan(part.numeric)[:, ~present.all(axis=0)]
    blocks = [np.clip(np.nan_to_num(scaled), -10, 10), marked.astype(np.float64)]
    matrices = [sparse.csr_matrix(block) for block in blocks]
    for codes, known in zip(part.categorical.T, train.categorical.T, strict=True):
        rows = np.flatnonzero(codes >= 0)
        shape = (len(codes), int(known.max(initial=-1)) + 1)
        matrices.append(sparse.csr_matrix((np.ones(len(rows)), (rows, codes[rows])), shape=shape))
    return sparse.hstack(matrices, format="csr")


def boosting(problem: Problem) -> Answers:
    """LightGBM's defaults: 100 trees of 31 leaves, learning rate 0.1, categories split as sets."""
    import lightgbm

    kind = lightgbm.LGBMRegressor if problem.objective is Objective.REGRESSION else lightgbm.LGBMClassifier
    threads = 1 if len(problem.labels) * max(1, problem.classes) < MANY_TREE_ROWS else None
    model = kind(random_state=problem.seed, deterministic=True, force_row_wise=True, verbosity=-1, n_jobs=threads)
    train, test = _joined(problem.train), _joined(problem.test)
    categories = range(problem.train.numeric.shape[1], train.shape[1])
    model.fit(train, problem.labels, categorical_feature=list(categories))
    return _answers(model, test, problem)


def _joined(part: Columns) -> np.ndarray:
    return np.concatenate([part.numeric, np.where(part.categorical < 0, np.nan, part.categorical)], axis=1)


def _answers(model: Any, inputs: Any, problem: Problem) -> Answers:
    if problem.objective is Objective.REGRESSION:
        return {"value": np.asarray(model.predict(inputs), dtype=np.float64)}
    probabilities = np.zeros((inputs.shape[0], problem.classes))
    probabilities[:, model.classes_] = model.predict_proba(inputs)  # training may lack a class
    return {"probabilities": probabilities}


BASELINES: dict[BaselineName, Callable[[Problem], Answers]] = {
    BaselineName.TRIVIAL: trivial,
    BaselineName.LINEAR: linear,
    BaselineName.BOOSTING: boosting,
}
