"""`tidemill replay`: a past time window through the whole loop, and a page that shows what came of it."""

import argparse
import math
from datetime import timedelta
from pathlib import Path

from tidemill.commands.arguments import count, moment, number
from tidemill.commands.output import say


def add(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=run)
    words = "as behind `python train.py`: +experiment=flights, key=value …; all of them before the options"
    parser.add_argument("words", nargs="*", metavar="SETTING", help=words)
    begin = (
        "training ends there and traffic begins, in UTC (default: after the first third of the records, at midnight; "
    )
    begin += "2013-04-01 for the flights)"
    parser.add_argument("--from", dest="since", type=moment, metavar="DATE", help=begin)
    parser.add_argument("--until", type=moment, metavar="DATE", help="traffic ends there (default: with the table)")
    parser.add_argument("--speed", type=_speed, default=None, help="simulated days a second, or max (default: max)")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="FAULT",
        help="KIND:COLUMN[=FROM/TO]@BEGIN[..END], like missing:price@2026-02-01; may be repeated. "
        "Kinds: missing, celsius, kilometres, renamed",
    )
    parser.add_argument("--labels", choices=["true", "shuffled"], default="true", help="shuffled: the null experiment")
    parser.add_argument("--seed", type=int, default=0, help="of shuffled labels (default: %(default)s)")
    known = parser.add_mutually_exclusive_group()
    known.add_argument(
        "--label-time",
        metavar="COLUMN",
        help="when a record's label becomes known (default: data.label_time); not for the flights",
    )
    known.add_argument("--label-delay", type=_delay, metavar="HOURS", help="or so long after the record")
    share = "a record is learnt from, and weighed, when it is so old that this share of the labels of every class have "
    share += "come, so that which labels come first does not matter (default: %(default)s)"
    parser.add_argument("--mature-share", type=_share, default=0.95, metavar="SHARE", help=share)
    folder = Path("outputs/replay")
    parser.add_argument("--folder", type=Path, default=folder, help="new or empty (default: %(default)s)")
    policy = "of the steward, with the keys that differ from the policy.yaml that a replay writes into its folder"
    parser.add_argument("--policy", type=Path, metavar="FILE", help=policy)
    parser.add_argument("--start", metavar="REGISTRY", help="begin with the champion there, instead of training one")
    parser.add_argument("--rows", type=count, default=1, help="records in one request (default: %(default)s)")
    parser.add_argument("--connections", type=count, default=16, help="(default: %(default)s)")
    parser.add_argument("--no-wait", action="store_true", help="let time run on while the steward weighs or trains")
    parser.add_argument("--no-steward", action="store_true", help="only serve and send: nothing is decided")
    parser.add_argument(
        "--patience", type=float, default=300.0, help="seconds the steward may stand still (%(default)s)"
    )
    parser.add_argument(
        "--check", action="store_true", help="two days of it with a hastily trained model: does it run?"
    )


_HASTY = ("training.max_epochs=1", "evaluation.bootstrap=50", "evaluation.importance_rows=50")


def run(parsed: argparse.Namespace) -> None:
    """Train on the time before a date, serve, send what came after it in order of time, and let the steward act."""
    from tidemill.replay.live.traffic import TrafficSettings
    from tidemill.replay.plan import Plan
    from tidemill.replay.run import run as replay
    from tidemill.replay.table import faults
    from tidemill.replay.table.label_times import LabelTimes

    plan = Plan(
        words=[*parsed.words, *(_HASTY if parsed.check else ())],
        folder=parsed.folder,
        since=parsed.since,
        until=parsed.until,
        hasty=parsed.check,
        known=LabelTimes(column=parsed.label_time, delay=parsed.label_delay, share=parsed.mature_share),
        faults=[faults.parse(text) for text in parsed.fault],
        manner=TrafficSettings(connections=parsed.connections, rows=parsed.rows, speed=parsed.speed),
        shuffled=parsed.seed if parsed.labels == "shuffled" else None,
        policy=parsed.policy,
        start=parsed.start,
        steward=not parsed.no_steward,
        wait=not parsed.no_wait,
        patience=parsed.patience,
    )
    replay(plan, say)


def _delay(text: str) -> timedelta:
    return timedelta(hours=number(text, "a number of hours, 0 or more", lambda value: 0 <= value < 24e9))


def _share(text: str) -> float:
    return number(text, "a share between 0 and 1", lambda value: 0 < value < 1)


def _speed(text: str) -> float | None:
    rule = "a number greater than 0, or max"
    return None if text == "max" else number(text, rule, lambda value: 0 < value < math.inf)
