"""How often evidence is wrong when one looks after every value, and how soon it is right, by simulation.

    python scripts/bench/evidence.py [--cache FOLDER] [--repetitions 2000] [--river PYTHON]
    python scripts/bench/evidence.py --quick [--river PYTHON]

Rates stand with Clopper–Pearson bounds of 95%; seeds are fixed. River's detectors run on the same streams, in a virtual
environment that is made under FOLDER unless --river names a Python that has River. A quick run draws four streams of
each kind, which shows nothing but that the code runs, and does without River unless it is there or named.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from parts.benchmark import NOT_INSTALLED, Options, report
from parts.crossings import (
    ALPHA,
    LENGTH,
    Draw,
    Follow,
    Lag,
    alarm_times,
    bernoulli,
    compared,
    crossing,
    detected,
    firsts,
    followed,
    hours,
    looked_hourly,
    rate_bounds,
    shadow,
    smooth,
    split,
    staged,
)
from parts.whole_trials import VOID, whole_trials

from tidemill.steward.evidence.betting import MeanEvidence
from tidemill.steward.evidence.paired import Question
from tidemill.steward.evidence.sequential import Spending, z_bounds

CHANGE = LENGTH // 2
RIVER = "river==0.26.1"
PARTS = 100  # of the streams, one after the other: for the memory
KINDS = ("changed", "steady")
PEER = Path(__file__).parent / "peers" / "river_detectors.py"
FIXED = "fixed level, two-sided z"
TARGETS = {
    "false_rate": {"at_most": ALPHA},
    "whole_trials_rate": {"at_most": ALPHA},
    "daily_rate_lower": {"at_most": ALPHA},
    "labels_of_a_split": {"at_least": 5.0},
    "delay_of_adwin": {"at_most": 1.0},
    "false_alarm_rate": {"at_most": ALPHA},
}


def false_crossings(repetitions: int) -> Iterator[tuple[str, np.ndarray]]:
    """Streams in which every crossing is false, looked at after every value."""
    superior, tolerant = Question(alpha=ALPHA), Question(alpha=ALPHA, margin=0.02)
    no_worse = Question(alpha=ALPHA, margin=0.02, superiority=False)
    canary = followed(shadow(0.04, 0.04, 2_000), split(0.15, 0.15, 0.1, 8_000))
    cells: dict[str, tuple[Draw, Follow]] = {
        "promotion, shadow, 2% disagree": (shadow(0.01, 0.01), compared(superior, "better")),
        "promotion, shadow, 8% disagree": (shadow(0.04, 0.04), compared(superior, "better")),
        "promotion, shadow, 30% disagree": (shadow(0.15, 0.15), compared(superior, "better")),
        "promotion, shadow, worse by the margin": (shadow(0.03, 0.05), compared(no_worse, "better")),
        "promotion, 50/50": (split(0.15, 0.15, 0.5), compared(superior, "better", 2)),
        "promotion, canary 5%": (split(0.15, 0.15, 0.05), compared(superior, "better", 20)),
        "promotion, shadow then canary 10%": (canary, staged(superior, "better", first=2_000, reach=10)),
        "rollback, shadow, equal": (shadow(0.04, 0.04), compared(superior, "worse")),
        "rollback, shadow, worse by the margin": (shadow(0.03, 0.05), compared(tolerant, "worse")),
        "rollback, 50/50, worse by the margin": (split(0.15, 0.17, 0.5), compared(tolerant, "worse", 2)),
        "rollback, canary 5%, worse by the margin": (split(0.15, 0.17, 0.05), compared(tolerant, "worse", 20)),
        "alarm, steady .01": (bernoulli(0.01), detected()),
        "alarm, steady .10": (bernoulli(0.1), detected()),
        "alarm, steady .40": (bernoulli(0.4), detected()),
        "alarm, losses of Beta(1, 4)": (smooth, detected()),
        "alarm, ever, steady .10": (bernoulli(0.1), detected(anytime=True)),
        "alarm, over .10 given": (bernoulli(0.1), detected(baseline=0.1)),
        "alarm, ever, over .10 given": (bernoulli(0.1), detected(baseline=0.1, anytime=True)),
        "alarm, a column's 720 hours of 100 rows": (hours, looked_hourly),
    }
    for name, (draw, follow) in cells.items():
        yield name, firsts(draw, follow, repetitions)


def daily_looks(repetitions: int, days: int = 30, rows: int = 100) -> Iterator[tuple[str, np.ndarray]]:
    """A difference of no size, looked at daily: by a z test of fixed level, and by what allows looking."""
    last = slice(rows - 1, None, rows)

    def z(values: np.ndarray) -> np.ndarray:
        sums, squares = values.cumsum(axis=1)[:, last], np.square(values).cumsum(axis=1)[:, last]
        return np.asarray(np.abs(sums) / np.sqrt(squares))

    def evidence(values: np.ndarray) -> tuple[np.ndarray, float]:
        sides = [MeanEvidence(mean=0.0, rises=rises, low=-1.0).update(values) for rises in (True, False)]
        return np.logaddexp(*sides)[:, last] - np.log(2), -np.log(ALPHA)  # the mean of both is evidence, too

    def spending(kind: Spending) -> Follow:
        looks = (np.arange(1, days + 1) / days).tolist()
        limits = np.array(z_bounds(looks, alpha=ALPHA / 2, spending=kind))
        return lambda values: (z(values) - limits, 0.0)

    draw = shadow(0.2, 0.2, days * rows)
    yield FIXED, firsts(draw, lambda values: (z(values), 1.959964), repetitions)
    for kind in Spending:
        yield f"spending, {kind}", firsts(draw, spending(kind), repetitions)
    yield "evidence, both sides averaged", firsts(draw, evidence, repetitions)


def rates(title: str, cells: Iterator[tuple[str, np.ndarray]]) -> dict[str, tuple[float, float, float]]:
    """Prints and returns each cell's rate of crossings with its bounds."""
    print(f"\n{title:<46}{'rate':>8}{'95% bounds':>18}")
    found = {}
    for name, places in cells:
        events = int(np.isfinite(places).sum())
        low, high = rate_bounds(events, len(places))
        found[name] = (events / len(places), low, high)
        print(f"{name:<46}{events / len(places):>8.4f}{f'{low:.4f}–{high:.4f}':>18}", flush=True)
    return found


def delay_curves(repetitions: int) -> dict[str, float]:
    """Median records from the change to the alarm, of an unknown .10 that rises after 5,000, by shift and label lag."""
    lags: dict[str, Lag] = {
        "at once": lambda rng, values: np.zeros(values.shape),
        "500 later": lambda rng, values: np.full(values.shape, 500.0),
        "about 500 later": lambda rng, values: rng.exponential(500.0, values.shape),
    }
    print(f"\n{'median delay (share alarmed early, missed)':<46}" + "".join(f"{name:>28}" for name in lags))
    found = {}
    for risen in (0.12, 0.13, 0.15, 0.2, 0.3):
        line = f"{f'.10 → {risen}':<46}"
        for name, lag in lags.items():
            times = alarm_times(bernoulli(0.1, risen), lag, detected(), repetitions)
            late = times[times > CHANGE] - CHANGE
            found[f"{risen}, {name}"] = middle = float(np.median(late)) if len(late) else np.inf
            line += f"{f'{middle:,.0f} ({np.mean(times <= CHANGE):.3f}, {np.mean(times == np.inf):.3f})':>28}"
        print(line, flush=True)
    return found


def where_void(repetitions: int) -> Iterator[tuple[str, np.ndarray]]:
    """Steady .10, where the labels of losses come up to 2,000 records late and the others within 100."""

    def lag(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
        return rng.random(values.shape) * np.where(values == 1, 2_000, 100)

    yield "weighed as labels come (void)", alarm_times(bernoulli(0.1), lag, detected(), repetitions)
    yield "weighed after the longest delay", alarm_times(bernoulli(0.1), lag, detected(), repetitions, wait=2_000)


def with_river(place: Path, *, may_install: bool) -> Path | None:
    """A Python that has River, in a virtual environment at the place; None where it is not to be made."""
    python = place / "bin" / "python"
    if not python.exists():
        if not may_install:
            return None
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", RIVER], check=True)
    return python


def river(python: Path, changed: np.ndarray, steady: np.ndarray) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, streams in (("changed", changed), ("steady", steady)):
            np.save(folder / f"{name}.npy", streams.astype(np.uint8))
        files = [str(folder / name) for name in ("changed.npy", "steady.npy", "answers.json")]
        subprocess.run([python, PEER, *files], check=True)
        answers: dict[str, Any] = json.loads((folder / "answers.json").read_text())
    return answers


def against_river(repetitions: int, python: Path | None) -> dict[str, dict[str, float]]:
    """.10 → .15 at 5,000 of 10,000, and streams that stay at .10, equal up to there."""
    drawn = np.random.default_rng(2).random((repetitions, LENGTH))
    steady = drawn < 0.1
    changed = np.concatenate([steady[:, :CHANGE], drawn[:, CHANGE:] < 0.15], axis=1)
    answers = river(python, changed, steady) if python is not None else {}
    ours: dict[str, Follow] = {
        "tidemill": detected(),
        "tidemill, ever": detected(anytime=True, within=CHANGE),
        "tidemill, .10 given": detected(baseline=0.1),
        "always fires": lambda values: (np.zeros(values.shape), 0.0),
        "never fires": lambda values: (np.zeros(values.shape), 1.0),
    }
    for name, follow in ours.items():
        answers[name] = {
            kind: np.concatenate([crossing(*follow(part.astype(float))) for part in np.array_split(streams, PARTS)])
            for kind, streams in (("changed", changed), ("steady", steady))
        }
    print(
        f"\n{'.10 → .15 at 5,000 of 10,000':<29}{'false before':>23}{'false in 10,000 steady':>24}"
        f"{'median delay':>14}{'90%':>8}{'missed':>8}"
    )
    return {name: _row(name, *(np.asarray(answer[kind]) for kind in KINDS)) for name, answer in answers.items()}


def _row(name: str, changed: np.ndarray, steady: np.ndarray) -> dict[str, float]:
    """Prints and returns a line of the table; delays are of the streams in which no alarm came before the change."""
    early, false = changed <= CHANGE, steady <= LENGTH
    late = np.where(changed > LENGTH, np.inf, changed - CHANGE)[~early]
    median, slow = np.quantile(late, [0.5, 0.9], method="lower") if len(late) else (np.nan, np.nan)
    missed = float(np.mean(late == np.inf)) if len(late) else np.nan
    line = f"{name:<29}"
    for kind in (early, false):
        low, high = rate_bounds(int(kind.sum()), len(kind))
        line += f"{f'{kind.mean():.4f} ({low:.4f}–{high:.4f})':>24}"
    print(f"{line}{median:>13,.0f}{slow:>8,.0f}{missed:>8.3f}", flush=True)
    rates = {"false_before": float(early.mean()), "false_steady": float(false.mean())}
    return {**rates, "median_delay": float(median), "missed": missed}


def labels_needed(repetitions: int) -> dict[str, float]:
    """Labels until a challenger of 2 points more accuracy is promoted: in shadow at 8% disagreement, or 50/50."""
    superior = Question(alpha=ALPHA)
    paired = float(np.median(firsts(shadow(0.05, 0.03, 20_000), compared(superior, "better"), repetitions)))
    print(f"\nlabels until +2 points are promoted (median): shadow, 8% disagree {paired:,.0f}")
    found = {"shadow": paired}
    for error in (0.1, 0.15, 0.2, 0.3):  # a split's noise grows with the error that both share; the shadow's does not
        halves = firsts(split(error, error - 0.02, 0.5, 50_000), compared(superior, "better", 2), repetitions)
        found[f"split, error {error}"] = needed = float(np.median(halves))
        print(f"50/50, error {error:.0%} → {error - 0.02:.0%}: {needed:,.0f}, {needed / paired:.1f} times as many")
    return found


def main() -> None:
    parser = Options(__doc__)
    parser.add_argument("--repetitions", type=int, default=2_000)
    parser.add_argument("--river", type=Path, help="a Python that has River")
    arguments = parser.chosen(repetitions=4)
    number = arguments.repetitions
    wrong = rates(f"false …, at {ALPHA:g} (10,000 values)", false_crossings(number))
    trials = rates(f"equal versions, whole trials at {ALPHA:g}", whole_trials(number))
    daily = rates("no difference, 30 daily looks", daily_looks(number))
    void = rates("false alarm, labels of losses late", where_void(number))
    delays = delay_curves(number)
    labels = labels_needed(number)
    python = arguments.river or with_river(arguments.cache / "river", may_install=not arguments.quick)
    table = against_river(number, python)
    ours, adwin = table["tidemill"], table.get("ADWIN")
    if adwin is None:
        print(f"River: {NOT_INSTALLED}")
    figures: dict[str, Any] = {
        "false_rate": max(rate for rate, _, _ in wrong.values()),
        "whole_trials_rate": max(rate for name, (rate, _, _) in trials.items() if VOID not in name),
        "daily_rate_lower": max(low for name, (_, low, _) in daily.items() if name != FIXED),
        "labels_of_a_split": labels["split, error 0.15"] / labels["shadow"],
        "delay_of_adwin": ours["median_delay"] / adwin["median_delay"] if adwin else None,
        "false_alarm_rate": ours["false_steady"],
    }
    figures |= {"false": wrong, "trials": trials, "daily": daily, "void": void}
    figures |= {"delays": delays, "labels": labels, "detectors": table}
    report(__file__, figures, TARGETS)


if __name__ == "__main__":
    main()
