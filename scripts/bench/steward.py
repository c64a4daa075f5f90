"""An hour of ledger at a thousand requests a second: how long the steward takes to join and weigh it, and its memory.

    python scripts/bench/steward.py [--cache FOLDER] [--rate 1000] [--hours 1 3]
    python scripts/bench/steward.py --quick

Answers, shadows and labels are written straight into a ledger's tables, with the answers that two real versions give to
the rows of parts/small_model.py; then `tidemill steward --once` takes all of it in, as a process of its own, from start
to exit. With all watches of the default policy; once without a challenger, once with one in shadow. A quick run has one
request a second.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from deltalake import write_deltalake
from parts.benchmark import Options, report
from parts.small_model import NAME, Model, prepare

from tidemill.ledger.columns import ANSWERS, LABELS
from tidemill.ledger.settings import LedgerSettings

HOUR = timedelta(hours=1)
AGO = 48  # hours; older than labels are waited for
WRITTEN = 300_000  # rows of one file
TARGETS = {"seconds_per_hour": {"at_most": 30.0}, "memory_growth": {"at_most": 1.15}}


def main() -> None:
    parser = Options(__doc__)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--hours", type=int, nargs=2, default=(1, 3))
    chosen = parser.chosen(rate=1)
    model = prepare(chosen.cache / "model")
    short, long = chosen.hours
    runs: dict[str, tuple[float, float]] = {}
    for name, hours, challenged in (("alone", short, False), ("shadow", short, True), ("longer", long, False)):
        with tempfile.TemporaryDirectory(dir=chosen.cache) as place:
            rows = fill(model, Path(place), hours=hours, rate=chosen.rate, challenged=challenged)
            runs[name] = weigh(Path(place), rows)
            print(
                f"{name:8} {rows:12,} answers {runs[name][0]:8.1f} s {runs[name][1]:8,.0f} MiB at its peak", flush=True
            )
    figures = {
        "seconds_per_hour": round(runs["alone"][0] / short, 2),
        "seconds_per_hour_with_shadow": round(runs["shadow"][0] / short, 2),
        "seconds_per_hour_of_longer": round(runs["longer"][0] / long, 2),
        "peak_mib": round(runs["alone"][1]),
        "memory_growth": round(runs["longer"][1] / runs["alone"][1], 3),
        "rate": chosen.rate,
    }
    report(__file__, figures, TARGETS)


def fill(model: Model, place: Path, *, hours: int, rate: int, challenged: bool) -> int:
    """A registry and a ledger as hours of service leave them; returns the number of champion's answers."""
    begin = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - AGO * HOUR
    crown(model, place / "registry", begin - HOUR, challenged=challenged)
    ledger = LedgerSettings(path=str(place / "ledger"))
    random = np.random.default_rng(0)
    probabilities = {version: model.expected(version) for version in ("1", "2")}
    raw = model.table.to_struct("inputs")
    rows = hours * 3600 * rate
    for first in range(0, rows, WRITTEN):
        numbers = np.arange(first, min(first + WRITTEN, rows))
        chosen = random.integers(0, model.table.height, len(numbers))
        at = pl.Series(numbers * (1_000_000 // rate)).cast(pl.Duration("us")) + begin
        common = pl.DataFrame({"id": pl.Series(numbers).cast(pl.String) + "-0", "at": at}).with_columns(
            day=pl.col("at").dt.date(), model=pl.lit(NAME), row=0, propensity=1.0, latency_us=900
        )
        answers = [
            common.with_columns(role=pl.lit("champion"), inputs=raw[chosen]).hstack(
                given(probabilities["1"][chosen], "1")
            )
        ]
        if challenged:
            answers.append(common.with_columns(role=pl.lit("shadow")).hstack(given(probabilities["2"][chosen], "2")))
        write(ledger, "answers", pl.concat(answers, how="diagonal"), ANSWERS)
        true = random.random(len(numbers)) < probabilities["1"][chosen, 1]
        labels = common.select("id", pl.col("at") + HOUR, label=pl.Series(np.where(true, "yes", "no")))
        write(ledger, "labels", labels.with_columns(day=pl.col("at").dt.date()), LABELS)
    return rows


def given(probabilities: np.ndarray, version: str) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "version": pl.Series([version]).new_from_index(0, len(probabilities)),
            "label": np.where(probabilities[:, 1] > 0.5, "yes", "no"),
            "probabilities": pl.Series(probabilities).arr.to_list(),
            "classes": pl.Series([["no", "yes"]]).new_from_index(0, len(probabilities)),
        }
    )


def write(ledger: LedgerSettings, name: str, rows: pl.DataFrame, columns: dict[str, Any]) -> None:
    missing = [pl.lit(None, kind).alias(column) for column, kind in columns.items() if column not in rows.columns]
    whole = rows.with_columns(missing).with_columns(pl.col(column).cast(kind) for column, kind in columns.items())
    write_deltalake(ledger.table(NAME, name), whole, mode="append", partition_by="day", schema_mode="merge")


def crown(model: Model, registry: Path, at: datetime, *, challenged: bool) -> None:
    """The model's registry, as if its champion (and challenger) had been named at that time."""
    shutil.copytree(model.registry, registry)
    entry = {"at": at.isoformat(timespec="seconds"), "by": "benchmark", "reason": "synthetic"}
    changes: list[dict[str, Any]] = [{"alias": "champion", "version": "1", "action": "promote", **entry}]
    if challenged:
        changes.append({"alias": "challenger", "version": "2", "action": "promote", **entry})
        changes.append({"alias": "challenger", "version": "2", "action": "rollout", "mode": "shadow", **entry})
    (registry / NAME / "aliases.json").write_text(json.dumps({"format": 1, "aliases": {}, "history": changes}))
    (registry / NAME / "desired.json").unlink(missing_ok=True)


def weigh(place: Path, rows: int) -> tuple[float, float]:
    """Seconds and peak MiB of a steward that takes all of it in, and holds whether it did."""
    command = [sys.executable, "-m", "tidemill.cli", "steward", "--once", "--model", NAME]
    command += ["--registry", str(place / "registry"), "--ledger", str(place / "ledger"), "--work", str(place / "work")]
    began = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(said[-2000:])
    readings = pl.scan_delta(str(place / "ledger" / NAME / "readings")).filter(pl.col("check") == "labels").collect()
    counted = readings["says"].str.extract(r"^([\d,]+) of").str.replace_all(",", "").cast(pl.Int64).sum()
    if counted != rows:
        raise RuntimeError(f"{counted} of {rows} labels were weighed: {said[-2000:]}")
    return seconds, used.ru_maxrss / 1024


if __name__ == "__main__":
    main()
