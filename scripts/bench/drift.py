"""Fifty columns compared in one pass, how often drift is told where there is none, and how soon where there is some.

    python scripts/bench/drift.py [--cache FOLDER] [--rows 200000] [--seconds 140] [--months 600]
    python scripts/bench/drift.py --quick

Everything runs on one core, Evidently too (in a virtual environment that is made under FOLDER), and is measured by its
CPU time, so that what else the machine does matters little. The tables are those of parts/drifting.py. A month is 720
hourly looks at 50 columns, 100 new rows each, at the last week and the last day, or at the last hour alone; an alarm is
a column named by e-BH at any of these looks. What else holds alarms back in the watch (a smallest effect, training's
bursts) is left out here: evidence alone keeps the rate. Seeds are fixed; rates stand with Clopper–Pearson bounds of
95%. A quick run looks at one month for each window, and compares with Evidently only where it lies under FOLDER
already.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from parts.benchmark import NOT_INSTALLED, Options, report

ONE_CORE = {"POLARS_MAX_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
PEER = Path(__file__).parent / "peers" / "evidently_drift.py"
EVIDENTLY = ("evidently==0.7.23", "pandas==2.*")
COLUMNS, HOURS, BATCH = 50, 720, 100
ALPHA, HALF = 0.05, 200
WINDOWS = {"last week and day": (168, 24), "last hour": (1,)}
SHIFTS = (0.05, 0.1, 0.2, 0.5, 1.0)
TARGETS = {"compared_seconds": {"at_most": 0.15}, "false_rate_upper": {"at_most": ALPHA}}


def main() -> None:
    parser = Options(__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="of the tables that are compared")
    parser.add_argument("--seconds", type=float, default=140.0, help="for each window's months, at most")
    parser.add_argument("--months", type=int, default=600, help="for each window, at most")
    parser.add_argument("--batches", type=int, default=10, help="of 100 rows for Evidently")
    parser.add_argument("--repetitions", type=int, default=100, help="of each shift")
    arguments = parser.chosen(rows=5_000, months=1, batches=1, repetitions=2)
    if os.environ.get("POLARS_MAX_THREADS") != "1":  # read when Polars is imported: begin anew
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ONE_CORE)
    rows = arguments.rows
    ours = speed(rows)
    theirs = evidently(arguments.cache / "evidently", rows, arguments.batches, install=not arguments.quick)
    print(f"\n{COLUMNS} columns × {rows:,} rows, one core: {ours['seconds']:.3f} s (counting {ours['counting']:.3f})")
    if theirs is None:
        print(f"Evidently: {NOT_INSTALLED}")
    else:
        print(f"Evidently: {theirs['seconds']:.1f} s, {theirs['seconds'] / ours['seconds']:.0f} times as long")
    false = {name: months(widths, arguments.months, arguments.seconds) for name, widths in WINDOWS.items()}
    print(f"\n{'no drift, a month of hourly looks':<40}{'months with an alarm':>24}{'95% bounds':>18}")
    for name, found in false.items():
        bounds = f"{found['low']:.4f}–{found['high']:.4f}"
        alarms = f"{found['alarms']:.0f} of {found['months']:.0f}"
        print(f"{f'window: the {name}':<40}{alarms:>24}{bounds:>18}")
    if theirs is not None:
        print(f"Evidently, one batch of {BATCH} rows: {theirs['flagged']:.0%} of the columns flagged")
    delays = power(arguments.repetitions)
    print(f"\n{'rows until a shifted column is named, of 50':<46}{'median':>10}{'90%':>10}{'missed':>8}")
    for name, delay in delays.items():
        print(f"{name:<46}{delay['median']:>10,.0f}{delay['90%']:>10,.0f}{delay['missed']:>8.2f}")
    figures: dict[str, Any] = {
        "compared_seconds": ours["seconds"],
        "false_rate_upper": max(found["high"] for found in false.values()),
    }
    figures |= {"counting_seconds": ours["counting"], "evidently": theirs, "false": false, "delays": delays}
    report(__file__, figures, TARGETS)


def speed(rows: int) -> dict[str, float]:
    """Seconds to count a live table over the reference's bins and to weigh every column: the best of five."""
    import polars as pl
    from parts.drifting import table

    from tidemill.data.profiles.profile import cells, profile, profile_like
    from tidemill.data.schema import Column, Schema
    from tidemill.settings import Kind
    from tidemill.steward.evidence.histograms import HistogramEvidence

    reference, live = (pl.DataFrame(table(rows, seed)) for seed in (0, 1))
    kinds = {name: Kind.NUMERIC if name.startswith("number") else Kind.CATEGORICAL for name in reference.columns}
    schema = Schema(columns=tuple(Column(name=name, kind=kind) for name, kind in kinds.items()))
    known = profile(reference, schema)
    found = []
    for _ in range(5):
        begun = time.process_time()
        counted = profile_like(live, known)
        counting = time.process_time() - begun
        for name, entry in known["columns"].items():
            evidence = HistogramEvidence(reference=cells(entry), ordered=kinds[name] is Kind.NUMERIC)
            evidence.look(cells(counted["columns"][name]))
            evidence.distance(cells(counted["columns"][name]))
        found.append((time.process_time() - begun, counting))
    seconds, counting = min(found)
    return {"seconds": seconds, "counting": counting}


def evidently(place: Path, rows: int, batches: int, *, install: bool) -> dict[str, Any] | None:
    """What peers/evidently_drift.py answers; None where Evidently is not to be installed."""
    python = place / "bin" / "python"
    if not python.exists() and not install:
        return None
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *EVIDENTLY], check=True)
    with tempfile.TemporaryDirectory() as folder:
        answers = Path(folder) / "answers.json"
        subprocess.run([python, PEER, str(rows), str(batches), answers], check=True, stdout=subprocess.DEVNULL)
        found: dict[str, Any] = json.loads(answers.read_text())
    return found


def months(widths: tuple[int, ...], most: int, seconds: float) -> dict[str, float]:
    """In how many months without drift a column is named, by looks at the last so many hours."""
    import numpy as np
    from parts.crossings import rate_bounds

    from tidemill.steward.evidence.histograms import e_bh

    rng, alarms, number, begun = np.random.default_rng(widths[0]), 0, 0, time.perf_counter()
    while number < most and time.perf_counter() - begun < seconds:
        shares = np.full(10, 0.1)
        reference = rng.multinomial(10_000, shares, size=COLUMNS)
        live = rng.multinomial(BATCH, shares, size=(HOURS, COLUMNS))
        log_e = _running(_windows(live, widths), reference)
        alarms += any(e_bh(row, ALPHA).any() for row in log_e if row.max() >= -np.log(ALPHA))
        number += 1
    low, high = rate_bounds(alarms, number)
    return {"alarms": alarms, "months": number, "rate": alarms / number, "low": low, "high": high}


def power(repetitions: int) -> dict[str, dict[str, float]]:
    """Rows of one column of 50 that come after it shifts and before it is named, in a month of hours of 100 rows."""
    import numpy as np

    threshold = np.log(COLUMNS / ALPHA)
    inner = np.quantile(np.random.default_rng(9).normal(size=200_000), np.arange(1, 20) / 20)

    def cells(values: np.ndarray) -> Any:
        return np.apply_along_axis(lambda row: np.bincount(np.searchsorted(inner, row), minlength=20), -1, values)

    found: dict[str, dict[str, float]] = {}
    for shift in SHIFTS:
        rng = np.random.default_rng(int(1_000 * shift))
        reference = rng.multinomial(10_000, np.full(20, 0.05), size=repetitions)
        before = cells(rng.normal(0, 1, (168, repetitions, BATCH)))
        after = cells(rng.normal(shift, 1, (HOURS, repetitions, BATCH)))
        widths = WINDOWS["last week and day"]
        log_e = _running(_windows(np.concatenate([before, after]), widths), reference)[len(widths) - 1 :: len(widths)]
        named = log_e[168:] >= threshold
        rows = np.where(named.any(axis=0), (named.argmax(axis=0) + 1.0) * BATCH, np.inf)
        median, slow = (float(one) for one in np.quantile(rows, [0.5, 0.9], method="lower"))
        moved = float(np.abs(after.mean(axis=(0, 1)) / BATCH - before.mean(axis=(0, 1)) / BATCH).sum() / 2)
        name = f"by {shift:g} deviations ({moved:.1%} of rows moved)"
        found[name] = {"median": median, "90%": slow, "missed": float(np.mean(np.isinf(rows)))}
    return found


def _windows(live: Any, widths: tuple[int, ...]) -> Any:
    """Counts of the last hours, at each hour of each width [hours × widths, columns, bins]."""
    import numpy as np

    sums = np.cumsum(live, axis=0)
    found = []
    for width in widths:
        last = sums.copy()
        last[width:] -= sums[:-width]
        found.append(last)
    return np.stack(found, axis=1).reshape(-1, *live.shape[1:])


def _running(windows: Any, reference: Any) -> Any:
    """Log evidence of every column after each look [looks, columns], as `HistogramEvidence` sums it."""
    import numpy as np

    from tidemill.steward.evidence.histograms import bin_sets, set_evidence
    from tidemill.steward.evidence.limits import log_mean

    sets = bin_sets(windows.shape[-1], ordered=True)
    found = np.stack(
        [log_mean(log_mean(set_evidence(counts.astype(float), reference.astype(float), sets))) for counts in windows]
    )
    look = np.arange(1, len(windows) + 1)
    weights = HALF / ((look - 1 + HALF) * (look + HALF))
    return np.logaddexp.accumulate(found + np.log(weights)[:, None], axis=0)


if __name__ == "__main__":
    main()
