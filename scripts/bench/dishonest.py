"""What one dishonest client can do to a trial: promote an equal challenger, or take an equal champion back.

    python scripts/bench/dishonest.py [--repetitions 500] [--quick]

Three clients ask, with 60, 30 and 10% of the records. The last one labels its answers so that one version seems better:
in shadow wherever the two disagree, as canary every answer. Both versions are equally good; each error is false. The
same records are weighed once as if everybody were believed (`trial.client_share: null`) and once by the default policy,
where a verdict also stands without any one client. The last rows are the price: labelled records until a challenger
that is truly better is promoted, all clients being honest. Rates have Clopper-Pearson bounds of 95%; seeds are fixed.
"""

from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import Pool

import numpy as np
import polars as pl
from parts.benchmark import Options, report
from parts.crossings import ALPHA, rate_bounds
from parts.whole_trials import OTHER, SIMULATED, TRIED

from tidemill.serve.answering import canary
from tidemill.steward import policy
from tidemill.steward.evidence.paired import Verdict
from tidemill.steward.trial.checked import CheckedTrial
from tidemill.steward.trial.comparison import Comparison, Stage

CLIENTS, SHARES = ("shop", "app", "rival"), (0.6, 0.3, 0.1)
ROWS, PERIODS = 1000, 10  # of a stage
ERROR, DISAGREE = 0.15, 0.08
"""Share of wrong answers, and of records on which the two versions answer differently."""
STAGES = ((Stage.SHADOW, 0.0), (Stage.CANARY, 0.1), (Stage.CANARY, 0.5))
PROBATION = ((Stage.PROBATION, 0.0),)
GAIN = 0.02
WRONG = (
    "promoted: one client labels for an equal challenger, also without any one",
    "dropped: one client labels against an equal new champion, also without any one",
    "promoted: all are honest, an equal challenger, also without any one",
)
"""What may happen with a probability of alpha at most."""


def period(
    random: np.random.Generator, first: int, stage: Stage, share: float, lie: float, gain: float
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows as the ledger has them and what answers in shadow. lie: for (-1) or against (1) the tried version.

    Losses are 0 or 1: where versions disagree one of them is wrong, the tried one in half of the cases less `gain`.
    """
    numbers = np.arange(first, first + ROWS)
    client = random.choice(CLIENTS, ROWS, p=SHARES)
    differs = random.random(ROWS) < DISAGREE
    both = random.random(ROWS) < (ERROR - DISAGREE / 2) / (1 - DISAGREE)
    tried_wrong = random.random(ROWS) < 0.5 - gain / DISAGREE / 2
    tried = np.where(differs, tried_wrong, both).astype(float)
    other = np.where(differs, ~tried_wrong, both).astype(float)
    liar = (client == CLIENTS[-1]) & (lie != 0)
    lied = liar if stage is Stage.CANARY else liar & differs
    tried, other = np.where(lied, float(lie > 0), tried), np.where(lied, float(lie < 0), other)
    if stage is Stage.CANARY:
        chosen, tosses = canary.assign([f"key {number}" for number in numbers], "m", TRIED, share)
    else:
        chosen, tosses = np.full(ROWS, stage is Stage.PROBATION), ()
    rows = pl.DataFrame(
        {
            "id": numbers,
            "request": numbers.astype(str),
            "client": client,
            "true_label": ["yes"] * ROWS,
            "contradicted": np.zeros(ROWS, dtype=bool),
            "version": np.where(chosen, TRIED, OTHER),
            "role": np.where(chosen & (stage is Stage.CANARY), "canary", "champion"),
            "propensity": np.where(chosen, share, 1 - share),
            "toss": pl.Series([toss.hex() for toss in tosses] or [None] * ROWS, dtype=pl.String),
            "latency_us": np.full(ROWS, 900),
            "inputs": pl.DataFrame({"kind": ["a"] * ROWS}).to_struct(),
            "probabilities": pl.Series([None] * ROWS, dtype=pl.List(pl.Float32)),
            "value": np.full(ROWS, 1.0),
            "loss": np.where(chosen, tried, other),
        }
    )
    beside = rows.select("id", "request", "true_label", "latency_us", "probabilities", "value")
    return rows, beside.with_columns(loss=pl.Series(np.where(chosen, other, tried)))


def tried(seed: int, lie: float, trusted: bool, probation: bool, gain: float) -> tuple[bool, bool, float]:
    """Whether the tried version was shown to be better, and to be worse, and after how many records it was better."""
    given = policy.read(None)
    rules = replace(
        given.trial, alpha=ALPHA, minimum=0, maximum=None, client_share=None if trusted else given.trial.client_share
    )
    random, first, carried = np.random.default_rng(seed), seed * 10**6, None
    found, promoted = set(), np.inf
    for stage, share in PROBATION if probation else STAGES:
        comparison = Comparison(stage=stage, tried=TRIED, other=OTHER, share=share)
        one = CheckedTrial(rules, given.labels, comparison, SIMULATED, carried)
        for _ in range(PERIODS):
            one.take(*period(random, first, stage, share, lie, gain))
            one.close()
            first += ROWS
            found.add(one.verdict()[0])
            if Verdict.BETTER in found:
                promoted = min(promoted, first - seed * 10**6)
        carried = one.carried() if stage is not Stage.PROBATION else None
    return Verdict.BETTER in found, Verdict.WORSE in found, promoted


def cells(repetitions: int) -> Iterator[tuple[str, str, list[tuple[bool, bool, float]]]]:
    """What is simulated, how records are weighed, and what each repetition came to."""
    worlds = {
        "one client labels for an equal challenger": (-1.0, False, 0.0),
        "one client labels against an equal new champion": (1.0, True, 0.0),
        "all are honest, an equal challenger": (0.0, False, 0.0),
        "all are honest, a better challenger": (0.0, False, GAIN),
    }
    with Pool() as pool:
        for name, (lie, probation, gain) in worlds.items():
            for trusted in (True, False):
                given = [(seed, lie, trusted, probation, gain) for seed in range(repetitions)]
                how = "all believed" if trusted else "also without any one"
                yield name, how, pool.starmap(tried, given, chunksize=5)


def main() -> None:
    options = Options(__doc__)
    options.add_argument("--repetitions", type=int, default=500)
    repetitions = options.chosen(repetitions=2).repetitions
    figures: dict[str, float] = {}
    print(f"{'':50}{'':24}{'promoted':>22}{'dropped or taken back':>24}{'records (median)':>18}")
    for name, how, found in cells(repetitions):
        better, worse, records = (np.array(part) for part in zip(*found, strict=True))
        shown = []
        for what, wrong in (("promoted", better), ("dropped", worse)):
            low, high = rate_bounds(int(wrong.sum()), repetitions)
            shown.append(f"{wrong.mean():.3f} ({low:.3f}-{high:.3f})")
            figures[f"{what}: {name}, {how}"] = float(wrong.mean())
        median = figures[f"records: {name}, {how}"] = float(np.median(records))
        taken = f"{median:,.0f}" if np.isfinite(median) else "never"
        print(f"{name:50}{how:24}{shown[0]:>22}{shown[1]:>24}{taken:>18}", flush=True)
    report(__file__, figures, {name: {"at_most": ALPHA} for name in WRONG})


if __name__ == "__main__":
    main()
