"""`tidemill steward`: watch a served model, and keep it right."""

import argparse
import getpass
import json
import logging
import os
import re
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill.commands.output import say, table

if TYPE_CHECKING:
    from tidemill.ledger.settings import LedgerSettings


def add(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=_run, wrong=parser.error)
    parser.add_argument("--policy", type=Path, help="YAML with the keys that differ from the defaults")
    parser.add_argument("--work", type=Path, default=Path("outputs/steward"), help="retrainings (default: %(default)s)")
    parser.add_argument("--once", action="store_true", help="take in what there is, do what is due, and end")
    _about(parser, required=False)  # an action's own is
    actions = parser.add_subparsers(metavar="ACTION", required=False)
    listed = actions.add_parser("decisions", help="what was decided, and why")
    listed.add_argument("--json", action="store_true", help="with all numbers, a line each")
    listed.set_defaults(command=_decisions)
    approved = actions.add_parser("approve", help="let the steward do what it has proposed")
    approved.add_argument("number", type=int)
    approved.set_defaults(command=_approve)
    taken = actions.add_parser("labels", help="take in labels that come as files")
    taken.add_argument("files", nargs="+", type=Path, metavar="FILE", help="Parquet, CSV or JSON Lines")
    taken.set_defaults(command=_labels)
    measured = actions.add_parser("metrics", help="the metric over time, by the moment of records or of their labels")
    measured.add_argument("--by", choices=["event", "arrival"], default="event")
    measured.add_argument("--every", type=_duration, default="1d", help="like 1h, 1d, 1w, 1mo (default: %(default)s)")
    measured.add_argument("--policy", type=Path, help="whose metric and clock are meant")
    measured.set_defaults(command=_metrics)
    for action in (listed, approved, taken, measured):
        _about(action)


def _duration(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d*(m|h|d|w|mo|q|y)", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration like 1h, 1d, 1w or 1mo")
    return text


def _about(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument("--registry", default="registry", help="a folder or an fsspec URL (default: %(default)s)")
    parser.add_argument("--model", required=required, help="its name in the registry")
    parser.add_argument("--ledger", default="ledger", help="a folder or an object store's URL (default: %(default)s)")


def _run(parsed: argparse.Namespace) -> None:
    """Weigh what was answered and what became true of it, decide, and act through the registry, until Ctrl-C."""
    if parsed.model is None:
        parsed.wrong("the following arguments are required: --model")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: threads would only wait for each other
    from tidemill.steward import policy
    from tidemill.steward.steward import Office, Steward

    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO, datefmt="%H:%M:%S", force=True)
    office = Office(
        registry=parsed.registry,
        model=parsed.model,
        ledger=_ledger(parsed),
        work=(parsed.work / parsed.model).absolute(),
    )
    steward = Steward(office, policy.read(parsed.policy))
    try:
        if parsed.once:
            while steward.look():
                pass
            return
        ended = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: ended.set())
        say(f"Watching {parsed.model}. `tidemill steward decisions --model {parsed.model}` says what was decided.")
        steward.run(ended)
    finally:
        steward.close()


def _decisions(parsed: argparse.Namespace) -> None:
    from tidemill.steward import book

    made = book.Book(_ledger(parsed), parsed.model).decisions()
    if parsed.json:
        for one in book.decisions(_ledger(parsed), parsed.model).collect().to_dicts():
            one["evidence"] = json.loads(one["evidence"])
            say(json.dumps(one, default=str, ensure_ascii=False))
        return
    lines = [
        (
            str(one.number),
            f"{one.moment:%Y-%m-%d %H:%M}",
            f"{one.kind}{f' {one.share:g}' if one.share else ''}{' (proposed)' if one.proposed else ''}",
            one.version or (f"decision {one.refers}" if one.refers else one.retraining or ""),
            one.by,
            one.reason,
        )
        for one in made
    ]
    say(
        table(("number", "moment", "decision", "about", "by", "reason"), lines) if lines else "Nothing was decided yet."
    )


def _approve(parsed: argparse.Namespace) -> None:
    from tidemill.bundle.registry import Registry
    from tidemill.errors import LedgerError
    from tidemill.steward.book import Book, Decision, Kind

    book = Book(_ledger(parsed), parsed.model)
    made = book.decisions()
    asked = next((one for one in made if one.number == parsed.number and one.proposed), None)
    generation = Registry(parsed.registry).desired(parsed.model).generation
    if asked is None or asked.generation != generation:
        waiting = [str(one.number) for one in made if one.proposed and one.generation == generation]
        raise LedgerError(
            "A decision is approved while it waits and nothing else has changed",
            observed=f"decision {parsed.number}, which "
            + ("does not wait" if asked is None else "was made for an earlier state"),
            remedy=f"those that wait: {', '.join(waiting) or 'none'}",
        )
    by = getpass.getuser() if "USER" in os.environ or hasattr(os, "getuid") else "somebody"
    word = Decision(
        number=made[-1].number + 1,
        kind=Kind.APPROVE,
        moment=asked.moment,
        reason=f"{asked.kind} was approved.",
        generation=generation,
        refers=asked.number,
        by=by,
    )
    say(
        f"Decision {asked.number} is approved."
        if book.decide(word)
        else "Another decision was made just now: look again."
    )


def _labels(parsed: argparse.Namespace) -> None:
    from tidemill.bundle.registry import Registry
    from tidemill.steward.labels import take_files

    identity = Registry(parsed.registry).describe(parsed.model, "champion").identity
    counts = take_files(parsed.files, _ledger(parsed), parsed.model, identity)
    for file, count in zip(parsed.files, counts, strict=True):
        say(f"{file}: {count:,} labels" if count else f"{file}: taken before, or empty")


def _metrics(parsed: argparse.Namespace) -> None:
    from tidemill.bundle.registry import Registry
    from tidemill.steward import labels, policy

    found = labels.metrics(
        Registry(parsed.registry),
        _ledger(parsed),
        parsed.model,
        policy.read(parsed.policy),
        by=parsed.by,
        every=parsed.every,
    )
    lines = [
        tuple(f"{value:,.4f}" if isinstance(value, float) else str(value) for value in row) for row in found.rows()
    ]
    say(table(tuple(found.columns), lines) if lines else "No labelled answers yet.")


def _ledger(parsed: argparse.Namespace) -> "LedgerSettings":
    from tidemill.ledger.settings import LedgerSettings

    return LedgerSettings(path=parsed.ledger)
