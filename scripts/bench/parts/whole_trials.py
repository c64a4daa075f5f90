"""Whole trials of two versions that are equal, as the steward weighs them: stages, keys that return, storms, guards.

Records are simulated, down to the toss of each canary record by the hash that serving uses; the rest is the steward's.
"""

from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import Pool

import numpy as np
import polars as pl
from parts.crossings import ALPHA

from tidemill.serve.answering import canary
from tidemill.steward import policy
from tidemill.steward.evidence.paired import Verdict
from tidemill.steward.losses import Loss
from tidemill.steward.policy import TrialSettings, Unit
from tidemill.steward.trial.comparison import Comparison, Stage
from tidemill.steward.trial.trial import Trial

PERIODS, ROWS = 20, 100  # of a stage
TRIED, OTHER = "2", "1"
KINDS = ("a", "b", "c")
VOID = "keys return in shadow, too"
"""A cell in which what a guarantee rests on is not so."""
MARGIN, SLOW_SHARE, SLOW_US, BROKEN_SHARE = 0.05, 0.05, 600_000, 0.001


SIMULATED = Loss(name="loss", low=0.0, high=1.0, kernel=lambda rows: rows["loss"].to_numpy())
"""A loss that each record brings along."""


class World:
    """Records of keys, of which one in three returns as canary; each suits one version better than the other by chance.

    Mean losses are equal; of one kind in three the challenger is worse by just the slice margin, of the others better.
    storm: deviation of what a period adds to the challenger's loss, the same for all of its records.
    always: keys return in shadow, too. Then what is known of a key is known of its next record: no guarantee holds.
    """

    def __init__(self, seed: int, storm: float, always: bool) -> None:
        self._random = np.random.default_rng(seed)
        self._storm, self._always = storm, always
        self._suits = np.zeros(0)
        self._count = 0

    def period(self, share: float) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Rows as the ledger has them, and what the challenger answers to them in shadow. share: 0 without a canary."""
        random, known = self._random, len(self._suits)
        again = (
            random.choice(known, ROWS // 3, replace=False)
            if known and (share or self._always)
            else np.zeros(0, dtype=np.int64)
        )
        keys = np.append(again, known + np.arange(ROWS - len(again)))
        self._suits = np.append(self._suits, random.choice([-0.1, 0.1], ROWS - len(again)))
        kinds = random.choice(KINDS, ROWS)
        storm = np.clip(self._storm * random.standard_normal(), -0.1, 0.1)
        level = random.uniform(0.3, 0.7, ROWS)
        tried = level + self._suits[keys] + storm + np.where(kinds == KINDS[0], MARGIN, -MARGIN / 2)
        if share:
            chosen, tosses = canary.assign([f"key {key}" for key in keys], "m", TRIED, share)
        else:
            chosen, tosses = np.zeros(ROWS, dtype=bool), ()
        ids = np.arange(self._count, self._count + ROWS)
        common = {"id": ids, "request": ids.astype(str), "true_label": ["yes"] * ROWS}
        self._count += ROWS
        rows = pl.DataFrame(
            {
                **common,
                "version": np.where(chosen, TRIED, OTHER),
                "role": np.where(chosen, "canary", "champion"),
                "propensity": np.where(chosen, share, 1 - share),
                "toss": pl.Series([toss.hex() for toss in tosses] or [None] * ROWS, dtype=pl.String),
                "latency_us": np.where(random.random(ROWS) < SLOW_SHARE, SLOW_US, 900),
                "inputs": pl.DataFrame({"kind": kinds}).to_struct(),
                "loss": np.where(chosen, tried, level),
                "probabilities": pl.Series([None] * ROWS, dtype=pl.List(pl.Float32)),
                "value": np.where(random.random(ROWS) < BROKEN_SHARE, np.nan, level),
            }
        )
        return rows, rows.select(
            "id", "request", "true_label", "latency_us", "probabilities", "value", loss=pl.Series(tried)
        )


def tried(seed: int, unit: Unit, storm: float, always: bool) -> tuple[bool, bool]:
    """Whether the challenger was ever shown to be better, and ever to be one to drop, in any of three stages."""
    rules: TrialSettings = replace(
        policy.read(None).trial,
        alpha=ALPHA,
        unit=unit,
        reach=0.15,
        minimum=0,
        maximum=None,
        slices=["kind"],
        slice_margin=MARGIN,
        slow_ms=SLOW_US / 2000,
        slow_share=SLOW_SHARE,
        broken_share=BROKEN_SHARE,
    )
    world, carried, found = World(seed, storm, always), None, set()
    for stage, share in ((Stage.SHADOW, 0.0), (Stage.CANARY, 0.1), (Stage.CANARY, 0.5)):
        one = Trial.begin(rules, Comparison(stage=stage, tried=TRIED, other=OTHER, share=share), SIMULATED, carried)
        for _ in range(PERIODS):
            one.take(*world.period(share))
            one.close()
            found.add(one.verdict()[0])
        carried = one.state.carried
    return Verdict.BETTER in found, Verdict.WORSE in found


def whole_trials(repetitions: int) -> Iterator[tuple[str, np.ndarray]]:
    """Each cell's name and, for each repetition, a finite number where it was wrong."""
    cells = {
        "records as units": (Unit.RECORD, 0.0, False),
        "storms, periods as units": (Unit.PERIOD, 0.05, False),
        VOID: (Unit.RECORD, 0.0, True),
    }
    with Pool() as pool:
        for name, cell in cells.items():
            given = [(seed, *cell) for seed in range(repetitions)]
            wrong = np.array(pool.starmap(tried, given, chunksize=20))
            for column, what in enumerate(("promotion", "drop")):
                yield f"{what}, {name}", np.where(wrong[:, column], 1.0, np.inf)
