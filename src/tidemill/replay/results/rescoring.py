"""Answers again: what any version would have answered to the records that were sent, and its losses on them."""

import numpy as np
import polars as pl

from tidemill.bundle.answers import Answers
from tidemill.bundle.manifest import Manifest
from tidemill.bundle.predictor import Predictor
from tidemill.bundle.registry.registry import Registry
from tidemill.data.raw import from_table
from tidemill.evaluation.comparison import row_losses
from tidemill.evaluation.results import Answered
from tidemill.replay.table.timeline import Timeline
from tidemill.settings import Objective

_CHUNK = 50_000  # records through a predictor at once


class Rescorer:
    """Of the chosen records.

    Args:
        rows: of all records, as they were sent. numbers: which of them are chosen [N].
    """

    def __init__(
        self, registry: Registry, model: str, timeline: Timeline, rows: pl.DataFrame, numbers: np.ndarray
    ) -> None:
        self._registry, self._model, self._timeline = registry, model, timeline
        self._table, self._numbers = rows, numbers
        self.labels = timeline.labels[numbers]

    def losses(self, answers: Answers, rows: slice = slice(None)) -> np.ndarray:
        objective = self._timeline.target.objective
        return row_losses(Answered(objective=objective, labels=self.labels[rows], answers=answers))

    def losses_of(self, version: str, rows: slice = slice(None)) -> np.ndarray:
        """Of a version's bundle, on the records as they were sent."""
        answers = self.answers_of(version, rows)
        return self.losses(answers, rows) if answers else np.empty(0)

    def answers_of(self, version: str, rows: slice = slice(None)) -> Answers:
        """Empty where there are no records."""
        table = self._table[self._numbers[rows]]
        with self._registry.fetched(self._model, version, verify=False) as folder:
            predictor = Predictor(folder)
            parts = [
                predictor.predict(from_table(table[at : at + _CHUNK], predictor.columns))
                for at in range(0, table.height, _CHUNK)
            ]
        name = "value" if self._timeline.target.objective is Objective.REGRESSION else "probabilities"
        return {name: np.concatenate([part[name] for part in parts])} if parts else {}

    def manifest(self, version: str) -> Manifest:
        return self._registry.describe(self._model, version)
