"""Rows per second of `tidemill predict` against a bare ONNX Runtime loop, and its peak memory on longer files.

    python scripts/bench/bulk.py [--registry registry] [--model flights] [--rows 1000000] [--turns 5]
    python scripts/bench/bulk.py --quick

The table is flights repeated to a million rows, in Parquet. The loop does the same in one process: reads the file in
parts with Polars, makes arrays by the raw input contract, runs a session with the number of threads and of rows at once
that serve it best, and writes labels, probabilities and keys to Parquet; it checks nothing and cannot be resumed. Both
are whole processes, from start to exit, and take turns: the median of the turns' ratios counts. Then a file four times
as long: the private memory of all processes at its peak must be about the same. Without a flights model in the
registry, `python train.py +experiment=flights` makes one. A quick run takes the model and the rows of
parts/small_model.py.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
from parts.benchmark import Options, report
from parts.small_model import NAME, prepare

from tidemill.bundle.registry.registry import Registry
from tidemill.data.sources import flights
from tidemill.settings import DataSettings

TIMES = 4
"""The rows of the longer file over those of the other one."""
TARGETS = {"ratio": {"at_least": 0.7}, "growth": {"at_most": 1.15}}
"""growth: of peak memory, from the shorter file to the longer one."""
PART = 100_000
BARE = [(threads, rows) for threads in (1, os.cpu_count() or 1) for rows in (8_192, 32_768)]
"""ONNX Runtime's threads and rows at once that are tried for the bare loop."""


def flights_table() -> pl.DataFrame:
    return flights.read(cast(DataSettings, SimpleNamespace(options={}))).collect()


def write(table: pl.DataFrame, rows: int, path: Path) -> Path:
    """The table, repeated until it has so many rows."""
    pl.concat([table] * -(-rows // table.height)).head(rows).write_parquet(path)
    return path


def bare(bundle: Path, path: Path, output: Path, threads: int, rows: int) -> None:
    """The loop that anybody would write."""
    import numpy as np
    import onnxruntime

    from tidemill.bundle import manifest
    from tidemill.data.raw import from_table
    from tidemill.data.schema import Role

    described = manifest.read(bundle)
    columns = described.schema.inputs
    keys = [column.name for column in described.schema.with_role(Role.KEY)]
    kinds: dict[str, Any] = {
        "numeric": pl.Float64,
        "boolean": pl.Boolean,
        "categorical": pl.String,
        "timestamp": pl.Datetime("us"),
    }
    casts = [pl.col(column.name).cast(kinds[column.kind]) for column in columns]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(bundle / "model.onnx", options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    output.mkdir()
    scan = pl.scan_parquet(path)
    for start in range(0, scan.select(pl.len()).collect().item(), PART):
        part = scan.slice(start, PART).select(*keys, *casts).collect()
        raw = from_table(part, columns)
        found = [
            session.run(["probabilities", "label"], {name: raw[name][first : first + rows] for name in names})
            for first in range(0, part.height, rows)
        ]
        shares = np.concatenate([probabilities for probabilities, _ in found])
        labels = np.concatenate([label for _, label in found])
        answers = {f"probability_{name}": shares[:, i] for i, name in enumerate(described.identity.classes)}
        kept = {name: part[name] for name in keys}
        table = pl.DataFrame({**kept, "label": pl.Series(labels, dtype=pl.String), **answers})
        table.write_parquet(output / f"{start}.parquet")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one command with all its processes. seconds: until it had ended. cpu: seconds that cores worked for it.

    mib: private memory of all processes together at their highest.
    """

    seconds: float
    cpu: float
    mib: float


def cost(command: list[str], output: Path) -> Cost:
    shutil.rmtree(output, ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        peak: list[float] = [0.0]
        watch = threading.Thread(target=_watch, args=(process, peak))
        watch.start()
        _, errors = process.communicate()
        seconds = time.perf_counter() - start
        watch.join()
    if process.returncode:
        raise SystemExit(errors)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(seconds=seconds, cpu=cpu, mib=peak[0])


def _watch(process: subprocess.Popen[str], peak: list[float]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], _private(process.pid))
        time.sleep(0.1)


def _private(process: int) -> float:
    """MiB that a process and its children hold for themselves: not what merely lies in the page cache."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    own = sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024
    return own + sum(_private(int(child)) for child in children)


def check_equal(ours: Path, theirs: Path, rows: int) -> None:
    """Labels equal, probabilities within what another number of threads may change."""
    found = pl.read_parquet(ours / "part-*.parquet")
    loop = pl.concat([pl.read_parquet(theirs / f"{start}.parquet") for start in range(0, rows, PART)])
    for name in loop.columns:
        if loop.schema[name] == pl.Float32:
            difference = (found[name] - loop[name]).abs().max()
            assert isinstance(difference, float) and difference < 1e-6, name
        else:
            assert found[name].equals(loop[name]), name


def main() -> None:
    parser = Options(__doc__)
    parser.add_argument("--registry", default="registry")
    parser.add_argument("--model", default="flights")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--bare", nargs=5, help=argparse.SUPPRESS)
    parsed = parser.chosen(rows=1_000, turns=1)
    if parsed.bare:
        bundle, path, output, threads, rows = parsed.bare
        bare(Path(bundle), Path(path), Path(output), int(threads), int(rows))
        return
    if parsed.quick:
        small = prepare(parsed.cache / "model")
        compare(str(small.registry), NAME, small.table, parsed.rows, parsed.turns, BARE[:1])
    else:
        compare(parsed.registry, parsed.model, flights_table(), parsed.rows, parsed.turns, BARE)


def compare(
    registry: str, model: str, table: pl.DataFrame, rows: int, turns: int, bare_settings: list[tuple[int, int]]
) -> None:
    with Registry(registry).fetched(model, "champion") as bundle, tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        short, long = (write(table, times * rows, folder / f"{times}.parquet") for times in (1, TIMES))
        ours, theirs = folder / "ours", folder / "theirs"

        def predict(path: Path) -> Cost:
            words = ["predict", "--registry", registry, "--model", model]
            command = [sys.executable, "-m", "tidemill.cli", *words, "--input", str(path), "--output", str(ours)]
            return cost(command, ours)

        def loop(threads: int, at_once: int) -> Cost:
            words = [str(word) for word in (bundle, short, theirs, threads, at_once)]
            return cost([sys.executable, __file__, "--bare", *words], theirs)

        threads, at_once = min(bare_settings, key=lambda settings: loop(*settings).seconds)
        taken = [(predict(short), loop(threads, at_once)) for _ in range(turns)]
        check_equal(ours, theirs, rows)
        longer = predict(long)
    mine, its = ([turn[i] for turn in taken] for i in (0, 1))
    ratio = statistics.median(other.seconds / own.seconds for own, other in taken)
    memory = statistics.median(run.mib for run in mine)
    print(f"{rows:,} rows from Parquet; the best of {turns} turns, medians of CPU seconds and of peak memory")
    for name, number, runs in (
        ("tidemill predict", rows, mine),
        (f"bare loop: {threads} threads, {at_once:,} rows at once", rows, its),
        (f"tidemill predict, {TIMES} times the rows", TIMES * rows, [longer]),
    ):
        print(f"{name:45}{_line(number, runs)}")
    figures = {
        "rows_per_second": round(rows / min(run.seconds for run in mine)),
        "rows_per_second_bare": round(rows / min(run.seconds for run in its)),
        "rows_per_second_of_longer": round(TIMES * rows / longer.seconds),
        "ratio": round(ratio, 2),
        "cpu_seconds": round(statistics.median(run.cpu for run in mine), 1),
        "cpu_seconds_bare": round(statistics.median(run.cpu for run in its), 1),
        "mib": round(memory),
        "mib_of_longer": round(longer.mib),
        "growth": round(longer.mib / memory, 2),
    }
    report(__file__, figures, TARGETS)


def _line(rows: int, runs: list[Cost]) -> str:
    rate = rows / min(run.seconds for run in runs)
    cpu, mib = (statistics.median(values) for values in ([run.cpu for run in runs], [run.mib for run in runs]))
    return f"{rate:10,.0f} rows/s {cpu:8.1f} CPU s {mib:8,.0f} MiB"


if __name__ == "__main__":
    main()
