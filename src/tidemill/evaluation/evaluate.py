"""The evaluation as a whole: everything that is measured on the test split, on one screen."""

from dataclasses import dataclass

import polars as pl

from tidemill.data.schema import Schema
from tidemill.data.target import Labels
from tidemill.evaluation import baselines, slices
from tidemill.evaluation.intervals import Bootstrap
from tidemill.evaluation.metrics import measure, unmeasured
from tidemill.evaluation.results import Answered, Evaluation, Importance
from tidemill.settings import EvaluationSettings


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tables:
    """The typed splits that an evaluation needs: baselines are fitted on train."""

    schema: Schema
    train: pl.DataFrame
    train_labels: Labels
    test: pl.DataFrame


def evaluate(
    answered: Answered,
    tables: Tables,
    settings: EvaluationSettings,
    *,
    importance: tuple[Importance, ...] = (),
    seed: int,
) -> Evaluation:
    """Metrics, slices and baselines of the answers given on the test split.

    Args:
        answered: the rows of `tables.test`, in the same order.
        importance: from `importance.permute`, measured on validation.

    Raises:
        SettingsError: a slice's column does not exist (`check` finds that before training).
        TrainingError: an answer is not a finite number.
    """
    bootstrap = Bootstrap(level=settings.level, number=settings.bootstrap, seed=seed)
    cut_by = slices.columns(tables.schema, settings)
    measured = measure(answered, bootstrap)
    inputs = [column.name for column in tables.schema.inputs]
    return Evaluation(
        objective=answered.objective,
        rows=len(answered.labels),
        metrics=measured.metrics,
        slices=(
            *slices.seen(tables.train, tables.test, inputs, answered, bootstrap),
            *slices.slices(tables.test, cut_by, answered, min_rows=settings.min_slice_rows, bootstrap=bootstrap),
        ),
        baselines=baselines.run(
            settings.baselines,
            tables.schema,
            (tables.train, tables.train_labels),
            tables.test,
            answered,
            measured,
            bootstrap,
        ),
        importance=importance,
        unmeasured=unmeasured(answered),
    )


def check(schema: Schema, settings: EvaluationSettings) -> None:
    """Raises SettingsError for slices by columns that are not there; to be called before training."""
    slices.columns(schema, settings)
