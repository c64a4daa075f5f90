"""Rows per second of `tidemill predict` against a bare ONNX Runtime loop, and its peak memory on longer files.

    python scripts/bench/bulk.py [--registry registry --model flights]

The table is flights repeated to a million rows, in Parquet. The loop does the same in one process: reads the file in
parts with Polars, makes arrays by the raw input contract, runs a session with the number of threads and of rows at once
that serve it best, and writes labels, probabilities and keys to Parquet; it checks nothing and cannot be resumed.
Both are whole processes, from start to exit, and take turns; the best of each counts, as does the median of the turns'
ratios. Then a file four times as long: peak memory (the sum of what every process of a run used privately at its peak).
Without a flights model in the registry, `python train.py +experiment=flights` makes one.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import polars as pl

from tidemill.bundle.registry import Registry
from tidemill.data.sources import flights
from tidemill.settings import DataSettings

TURNS = 5
MILLION = 1_000_000
RATIO = 0.7
GROWTH = 1.15
"""Of peak memory, from one to four million rows: what is still flat."""
PART = 100_000
BARE = [(threads, rows) for threads in (1, os.cpu_count() or 1) for rows in (8_192, 32_768)]
"""ONNX Runtime's threads and rows at once that are tried for the bare loop."""


def write_tables(folder: Path) -> tuple[Path, Path]:
    table = flights.read(cast(DataSettings, SimpleNamespace(options={}))).collect()
    paths = []
    for millions in (1, 4):
        path = folder / f"flights_{millions}_million.parquet"
        repeated = pl.concat([table] * -(-millions * MILLION // table.height)).head(millions * MILLION)
        repeated.write_parquet(path)
        paths.append(path)
    return paths[0], paths[1]


def bare(bundle: Path, path: Path, output: Path, threads: int, rows: int) -> None:
    """The loop that anybody would write."""
    import numpy as np
    import onnxruntime

    from tidemill.bundle import manifest
    from tidemill.data.raw import from_table

    described = manifest.read(bundle)
    columns = described.schema.inputs
    kinds = {"numeric": pl.Float64, "boolean": pl.Boolean, "categorical": pl.String, "timestamp": pl.Datetime("us")}
    casts = [pl.col(column.name).cast(kinds[column.kind]) for column in columns]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(bundle / "model.onnx", options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    output.mkdir()
    scan = pl.scan_parquet(path)
    for start in range(0, scan.select(pl.len()).collect().item(), PART):
        part = scan.slice(start, PART).select("flight_id", *casts).collect()
        raw = from_table(part, columns)
        found = [
            session.run(["probabilities", "label"], {name: raw[name][first : first + rows] for name in names})
            for first in range(0, part.height, rows)
        ]
        shares = np.concatenate([probabilities for probabilities, _ in found])
        labels = np.concatenate([label for _, label in found])
        answers = {f"probability_{name}": shares[:, i] for i, name in enumerate(described.identity.classes)}
        table = part.select("flight_id").with_columns(pl.Series("label", labels, pl.String), **answers)
        table.write_parquet(output / f"{start}.parquet")


def timed(command: list[str], output: Path) -> tuple[float, float]:
    """Seconds, and MiB of private memory of all processes together at their highest."""
    shutil.rmtree(output, ignore_errors=True)
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
    return seconds, peak[0]


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


def check_equal(ours: Path, theirs: Path) -> None:
    """Labels equal, probabilities within what another number of threads may change."""
    found = pl.read_parquet(ours / "part-*.parquet")
    loop = pl.concat([pl.read_parquet(theirs / f"{start}.parquet") for start in range(0, MILLION, PART)])
    for name in loop.columns:
        if loop.schema[name] == pl.Float32:
            difference = (found[name] - loop[name]).abs().max()
            assert isinstance(difference, float) and difference < 1e-6, name
        else:
            assert found[name].equals(loop[name]), name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--registry", default="registry")
    parser.add_argument("--model", default="flights")
    parser.add_argument("--bare", nargs=5, help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.bare:
        bundle, path, output, threads, rows = parsed.bare
        bare(Path(bundle), Path(path), Path(output), int(threads), int(rows))
        return
    bundle = Registry(parsed.registry).fetch(parsed.model, "champion")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        one, four = write_tables(folder)
        ours, theirs = folder / "ours", folder / "theirs"

        def predict(path: Path) -> tuple[float, float]:
            words = ["predict", "--registry", parsed.registry, "--model", parsed.model]
            command = [sys.executable, "-m", "tidemill.cli", *words, "--input", str(path), "--output", str(ours)]
            return timed(command, ours)

        def loop(threads: int, rows: int) -> tuple[float, float]:
            words = [str(word) for word in (bundle, one, theirs, threads, rows)]
            return timed([sys.executable, __file__, "--bare", *words], theirs)

        threads, rows = min(BARE, key=lambda settings: loop(*settings)[0])
        turns = [(predict(one), loop(threads, rows)) for _ in range(TURNS)]
        check_equal(ours, theirs)
        longer = predict(four)

    rates = {"tidemill predict": MILLION / min(mine[0] for mine, _ in turns)}
    rates[f"bare loop, {threads} threads, {rows:,} rows at once"] = MILLION / min(its[0] for _, its in turns)
    ratio = statistics.median(its[0] / mine[0] for mine, its in turns)
    memory = statistics.median(mine[1] for mine, _ in turns)
    growth = longer[1] / memory
    print(f"{MILLION:,} flights from Parquet, best of {TURNS} turns; ratio of the turns: {ratio:.2f}")
    for name, rate in rates.items():
        print(f"{name:50}{rate:12,.0f} rows/s")
    print(f"peak memory: {memory:,.0f} MiB at 1 million rows, {longer[1]:,.0f} MiB at 4 million ({growth:.2f} ×)")
    print(f"the bare loop's: {statistics.median(its[1] for _, its in turns):,.0f} MiB")
    print(f"4 million rows: {4 * MILLION / longer[0]:,.0f} rows/s")
    figures = {
        "rows_per_second": round(rates["tidemill predict"]),
        "rows_per_second_bare": round(list(rates.values())[1]),
        "rows_per_second_of_4_million": round(4 * MILLION / longer[0]),
        "ratio": round(ratio, 2),
        "mib": round(memory),
        "mib_of_4_million": round(longer[1]),
        "growth": round(growth, 2),
    }
    targets = {"ratio": RATIO, "growth": GROWTH}
    met = ratio >= RATIO and growth <= GROWTH
    print(json.dumps({"bench": "bulk", "figures": figures, "targets": targets, "met": met}))


if __name__ == "__main__":
    main()
