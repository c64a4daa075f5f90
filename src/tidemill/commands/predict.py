"""`tidemill predict`: score files in bulk."""

import argparse
import os
import sys
from pathlib import Path

from tidemill.commands.arguments import count
from tidemill.commands.output import say


def add(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=_predict, wrong=parser.error)
    parser.add_argument("--registry", default="registry", help="a folder or an fsspec URL (default: %(default)s)")
    parser.add_argument("--model", required=True, help="its name in the registry")
    parser.add_argument("--alias", default="champion", help="or a version's number (default: %(default)s)")
    parser.add_argument(
        "--public-key", type=Path, metavar="PEM", help="score only by a bundle that its private key has signed"
    )
    parser.add_argument(
        "--input",
        nargs="+",
        required=True,
        metavar="FILES",
        help="files, folders, globs or URLs: Parquet, Arrow, CSV, JSON Lines",
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="a new folder for Parquet files, to be read as DIR/part-*.parquet, or that of the run to resume",
    )
    parser.add_argument("--workers", type=count, help="processes, or actors on a cluster (default: one per core)")
    parser.add_argument("--rows-per-part", type=count, default=100_000, help="(default: %(default)s)")
    parser.add_argument(
        "--keep",
        nargs="*",
        metavar="COLUMN",
        help="columns to copy beside the answers; none: --keep alone (default: the key)",
    )
    parser.add_argument(
        "--on-error",
        choices=["fail", "quarantine"],
        default="fail",
        help="rows that the schema cannot read stop the run, or are set aside with the reason (default: %(default)s)",
    )
    parser.add_argument(
        "--record",
        action="store_true",
        help="write the answers to the model's ledger too, where the steward sees them and labels find them; each row "
        "of a file once for each version, however often it is scored",
    )
    parser.add_argument(
        "--ledger", metavar="PLACE", help="of --record: a folder or an object store's URL (default: ledger)"
    )
    parser.add_argument("--ray", metavar="ADDRESS", help="score on this Ray cluster (auto, ray://…, or local)")


def _predict(parsed: argparse.Namespace) -> None:
    """Score files through the model's predictor into Parquet parts. Repeat the command to resume it."""
    from tidemill.bulk.run import Job, run
    from tidemill.bulk.worker import Model

    if parsed.ledger is not None and not parsed.record:
        parsed.wrong("--ledger says where --record writes: give both, or neither")

    job = Job(
        inputs=tuple(parsed.input),
        output=parsed.output,
        rows_per_part=parsed.rows_per_part,
        keep=None if parsed.keep is None else tuple(parsed.keep),
        on_error=parsed.on_error,
        ledger=_place(parsed.ledger or "ledger") if parsed.record else None,
    )
    model = Model(registry=parsed.registry, name=parsed.model, alias=parsed.alias, public_key=parsed.public_key)
    try:
        summary = run(model, job, workers=parsed.workers or len(os.sched_getaffinity(0)), ray=parsed.ray)
    except KeyboardInterrupt:
        sys.stderr.write("Stopped. Finished parts stay: repeat the command to resume.\n")
        raise
    say(
        f"{summary['rows']:,} rows of {summary['files']:,} files scored by {summary['model']} version "
        f"{summary['version']} in {summary['parts']:,} parts: {parsed.output}"
    )
    if parsed.record:
        before = summary["rows"] - summary["recorded"]
        more = f"; the ledger had {before:,} of these rows already" if before else ""
        say(f"{summary['recorded']:,} rows recorded in {summary['ledger']}{more}")
    if summary["quarantined"]:
        say(f"{summary['quarantined']:,} rows could not be read: {parsed.output / '_quarantine'} says why")


def _place(ledger: str) -> str:
    return ledger if "://" in ledger else str(Path(ledger).expanduser().absolute())
