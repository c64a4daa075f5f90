"""`tidemill steward`: watch a served model, and keep it right."""

import argparse
import getpass
import json
import logging
import os
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.commands.output import say, table
from tidemill.stopping import stopped_by_signals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tidemill.ledger.settings import LedgerSettings
    from tidemill.steward.book import Decision


_WORK = Path("outputs/steward")
_SHOWN = 10
"""Readings without an alarm that are shown: those nearest to one."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=_run, wrong=parser.error)
    parser.add_argument("--policy", type=Path, help="YAML with the keys that differ from the defaults")
    parser.add_argument("--work", type=Path, help=f"folder for retrainings (default: {_WORK})")
    parser.add_argument("--once", action="store_true", help="take in what there is, do what is due, and end")
    parser.add_argument("--registry", default="registry", help="a folder or an fsspec URL (default: %(default)s)")
    parser.add_argument("--model", help="its name in the registry")
    parser.add_argument("--ledger", default="ledger", help="a folder or an object store's URL (default: %(default)s)")
    actions = parser.add_subparsers(metavar="ACTION", required=False)
    stands = actions.add_parser("status", help="what is served and tried, what the watches say, and what to do")
    stands.set_defaults(command=_status)
    listed = actions.add_parser("decisions", help="what was decided, and why")
    listed.set_defaults(command=_decisions)
    for action in (stands, listed):
        action.add_argument("--json", action="store_true", help="with all numbers")
    approved = actions.add_parser("approve", help="let the steward do what it has proposed")
    approved.add_argument("number", type=int)
    approved.set_defaults(command=_approve)
    taken = actions.add_parser("labels", help="take in labels that come as files")
    taken.add_argument("files", nargs="+", type=Path, metavar="FILE", help="Parquet, CSV or JSON Lines")
    taken.set_defaults(command=_labels)
    measured = actions.add_parser("metrics", help="the metric over time, by the moment of records or of their labels")
    measured.add_argument("--by", choices=["event", "arrival"], default="event")
    measured.add_argument("--every", type=_duration, default="1d", help="like 1h, 1d, 1w, 1mo (default: %(default)s)")
    measured.add_argument("--policy", type=Path, default=argparse.SUPPRESS, help="whose metric and clock are meant")
    measured.set_defaults(command=_metrics)
    for action in (stands, listed, approved, taken, measured):
        for name in ("--registry", "--model", "--ledger"):  # as before the action's name
            action.add_argument(name, default=argparse.SUPPRESS)


def _duration(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d*(m|h|d|w|mo|q|y)", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration like 1h, 1d, 1w or 1mo")
    return text


def _about(parsed: argparse.Namespace, *, without: tuple[str, ...] = ("policy", "work", "once")) -> "LedgerSettings":
    """The ledger that is meant. Ends the command where no model is named, or an option is given that says nothing."""
    from tidemill.ledger.settings import LedgerSettings

    if parsed.model is None:
        parsed.wrong("the following arguments are required: --model")
    needless = [f"--{name}" for name in without if getattr(parsed, name)]
    if needless:
        parsed.wrong(f"{', '.join(needless)} says nothing about this action: leave it out")
    return LedgerSettings.at(parsed.ledger)


def _run(parsed: argparse.Namespace) -> None:
    """Weigh what was answered and what became true of it, decide, and act through the registry, until Ctrl-C."""
    ledger = _about(parsed, without=())
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: threads would only wait for each other
    from tidemill.steward import book, policy, status
    from tidemill.steward.steward import Office, Steward

    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO, datefmt="%H:%M:%S", force=True)
    office = Office(
        registry=parsed.registry,
        model=parsed.model,
        ledger=ledger,
        work=((parsed.work or _WORK) / parsed.model).absolute(),
    )
    steward = Steward(office, policy.read(parsed.policy))
    try:
        if parsed.once:
            before = len(book.Book(ledger, parsed.model).decisions())
            while steward.look():
                pass
            made = book.Book(ledger, parsed.model).decisions()[before:]
            say(_standing(parsed, json.loads(status.read(ledger, parsed.model) or "null")))
            say("\nDecided in this look:\n" + _listed(made) if made else "\nNothing was decided in this look.")
            return
        with stopped_by_signals() as stop:
            say(f"Watching {parsed.model}. `tidemill steward status --model {parsed.model}` says how things stand.")
            steward.run(stop)
    finally:
        steward.close()


def _status(parsed: argparse.Namespace) -> None:
    from tidemill.bundle.registry.registry import Registry
    from tidemill.steward import acting, book, status

    ledger, generation = _about(parsed), Registry(parsed.registry).desired(parsed.model).generation
    found = json.loads(status.read(ledger, parsed.model) or "null")
    seen = [datetime.fromisoformat(found[name]) for name in ("seen_until", "labelled_until") if found and found[name]]
    read = book.latest(ledger, parsed.model, found["champion"], seen) if seen else []
    waiting = acting.waiting(book.Book(ledger, parsed.model).decisions(), generation)
    if parsed.json:
        whole = {"status": found, "readings": read, "waiting": [one.number for one in waiting]}
        say(json.dumps(whole, default=str, ensure_ascii=False))
        return
    say(_standing(parsed, found))
    observes = found is not None and found["mode"] == "observe"
    for one in waiting:
        word = "is what it would do: it observes" if observes else "waits for your word"
        say(f"\nDecision {one.number} {word} ({_doing(one)}): {one.reason}")
        if not observes:
            places = f"--registry {parsed.registry} --ledger {parsed.ledger}"
            say(f"  tidemill steward approve {one.number} --model {parsed.model} {places}")
    alarms = sum(one["alarm"] for one in read)
    shown = read[: alarms + _SHOWN]
    if shown:
        say("\n" + table(("", "check", "about", "evidence", "effect", "since"), [_read(one) for one in shown]))
    if len(read) > len(shown):
        say(f"and {len(read) - len(shown):,} readings with less evidence; --json gives all")


def _read(one: dict[str, Any]) -> tuple[str, ...]:
    """A reading as a line. Evidence is the natural log of how many times likelier things have changed."""
    effect, since = f"{one['effect']:.3g} {one['unit']}", one["since"]
    shown = one["severity"].upper() if one["log_e"] >= one["log_threshold"] else ""
    return (
        shown,
        one["check"],
        one["subject"],
        f"{one['log_e']:.1f} of {one['log_threshold']:.1f}",
        effect,
        f"{since:%Y-%m-%d %H:%M}" if since else "",
    )


def _standing(parsed: argparse.Namespace, status: dict[str, Any] | None) -> str:
    """How things stand after the last look, in some lines."""
    from tidemill.steward import bundle_loss

    if status is None:
        from tidemill.bundle.registry.registry import Registry
        from tidemill.ledger.settings import LedgerSettings
        from tidemill.steward.status import unwatched

        return unwatched(LedgerSettings.at(parsed.ledger), parsed.model, Registry(parsed.registry))
    name, trial = parsed.model, status["trial"]
    lines = [f"{name}: version {status['champion']} is champion, challenger {status['challenger'] or 'none'}."]
    if trial is not None:
        compared = f"version {trial['tried']} against {trial['against']}, {trial['records_in_all_stages']:,} records"
        lines.append(f"Stage: {status['stage']}, {compared}.")
    if status["retraining"]:
        lines.append(f"In training: {status['retraining']}.")
    if status.get("retraining_waits_for"):
        lines.append(f"A retraining is wanted and not begun: {status['retraining_waits_for']}.")
    seen, weighed = _moment(status["seen_until"]), _moment(status["labelled_until"])
    lines.append(
        f"Answers are seen until {seen or '(nothing yet)'}, labels weighed until {weighed or '(nothing yet)'}."
    )
    if status.get("performance"):
        lines.append(bundle_loss.sentence(status["performance"], status["alarms"]))
    lines.append(f"Alarms that stand: {len(status['alarms']) or 'none'}.")
    for one in sorted(status["alarms"], key=lambda one: one["severity"] != "harm"):
        since = f" Since {_moment(one['since'])}." if one["since"] else ""
        lines += [f"  {one['severity'].upper()}: {one['says']}{since}", f"    What to do: {one['remedy']}."]
    lines.append(f"As of {_moment(status['at'])} UTC, in {parsed.ledger}/{name}/steward/status.json.")
    return "\n".join(lines)


def _moment(text: str | None) -> str | None:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M}" if text else None


def _decisions(parsed: argparse.Namespace) -> None:
    from tidemill.steward import book

    ledger = _about(parsed)
    made = book.Book(ledger, parsed.model).decisions()
    if parsed.json:
        for one in book.decisions(ledger, parsed.model).collect().to_dicts():
            one["evidence"] = json.loads(one["evidence"])
            say(json.dumps(one, default=str, ensure_ascii=False))
        return
    say(_listed(made) if made else "Nothing was decided yet.")


def _listed(made: "Sequence[Decision]") -> str:
    lines = [
        (
            str(one.number),
            f"{one.moment:%Y-%m-%d %H:%M}",
            f"{_doing(one)}{' (proposed)' if one.proposed else ''}",
            one.version or (f"decision {one.refers}" if one.refers else one.retraining or ""),
            one.by,
            one.reason,
        )
        for one in made
    ]
    return table(("number", "moment", "decision", "about", "by", "reason"), lines)


def _doing(one: "Decision") -> str:
    return f"{one.kind}{f' {one.share:g}' if one.share else ''}"


def _approve(parsed: argparse.Namespace) -> None:
    from tidemill.bundle.registry.registry import Registry
    from tidemill.errors import LedgerError, listed
    from tidemill.steward import acting, status
    from tidemill.steward.book import Book, Decision, Kind

    book = Book(_about(parsed), parsed.model)
    made = book.decisions()
    generation = Registry(parsed.registry).desired(parsed.model).generation
    waiting = {one.number: one for one in acting.waiting(made, generation)}
    asked = waiting.get(parsed.number)
    if json.loads(status.read(_about(parsed), parsed.model) or "{}").get("mode") == "observe":
        raise LedgerError(
            "A steward that observes carries nothing out",
            observed=f"mode: observe in the policy of {parsed.model}'s steward",
            remedy="start it with mode: ask, or act",
        )
    if asked is None:
        raise LedgerError(
            "A decision is approved once, while it waits and nothing else has changed",
            observed=f"decision {parsed.number}, {_why_not(parsed.number, made)}",
            remedy=f"those that wait: {listed(waiting) or 'none'}",
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


def _why_not(number: int, made: "Sequence[Decision]") -> str:
    """Why a decision cannot be approved."""
    word = next((one for one in made if one.refers == number), None)
    if word is not None:
        return f"which {word.by} approved on {word.at:%Y-%m-%d %H:%M} UTC"
    if all(one.number != number for one in made):
        return "which there is not"
    if any(one.number == number and one.proposed for one in made):
        return "which was made for an earlier state"
    return "which does not wait: it needed nobody's word"


def _labels(parsed: argparse.Namespace) -> None:
    from tidemill.bundle.registry.registry import Registry
    from tidemill.steward.labels import take_files

    ledger = _about(parsed)
    champion = Registry(parsed.registry).describe(parsed.model, "champion")
    taken = take_files(parsed.files, ledger, parsed.model, champion.identity, schema=champion.schema)
    say(f"{taken:,} labels taken." if taken else "Nothing new: these files were taken before, or are empty.")


def _metrics(parsed: argparse.Namespace) -> None:
    from tidemill.bundle.registry.registry import Registry
    from tidemill.steward import labels, policy

    ledger = _about(parsed, without=("work", "once"))
    registry, rules = Registry(parsed.registry), policy.read(parsed.policy)
    found = labels.metrics(registry, ledger, parsed.model, rules, by=parsed.by, every=parsed.every)
    lines = [
        tuple(f"{value:,.4f}" if isinstance(value, float) else str(value) for value in row) for row in found.rows()
    ]
    say(table(tuple(found.columns), lines) if lines else "No labelled answers yet.")
