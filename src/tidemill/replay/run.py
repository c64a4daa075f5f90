"""A replay from beginning to end: train on the time before, serve, let time pass, and show what came of it.

Everything lies in the replay's own folder: registry/, ledger/, logs/, sent.parquet, outcome.json and replay.html.
"""

import asyncio
import contextlib
import json
import signal
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from tidemill.bundle.manifest import Manifest
from tidemill.bundle.registry import Registry
from tidemill.data.schema import Role
from tidemill.data.target import Target
from tidemill.errors import ReplayError
from tidemill.ledger.settings import LedgerSettings
from tidemill.replay import beginning, faults, outcome, pacing, page, timeline, traffic
from tidemill.replay.beginning import Experiment
from tidemill.replay.children import Children
from tidemill.replay.connections import Connections
from tidemill.replay.faults import Fault
from tidemill.replay.outcome import Outcome, Played
from tidemill.replay.timeline import Known, Timeline
from tidemill.replay.traffic import Manner, Sent
from tidemill.steward.policy import Policy

PAGE, OUTCOME, SENT = "replay.html", "outcome.json", "sent.parquet"
_HOST = "127.0.0.1"
_SHIP = 0.1  # seconds
_STARTED = 180.0  # seconds until the server must answer
_TRIES = 3
_SETTLED = 60.0  # seconds in which the steward may take in what came last
_PROGRAM = (sys.executable, "-m", "tidemill.cli")


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What shall be replayed, and how.

    words: behind `python train.py`. folder: new or empty. since, until: UTC; None: to the end.
    shuffled: seed with which all labels are permuted, before and after `since`: the null experiment, in which no model
        can be better than another. None: they are as they are.
    policy: over the replay's own. start: a registry whose champion is taken instead of training one.
    steward: whether there is one; wait: whether time waits for it; patience: for how many seconds at most.
    """

    words: Sequence[str]
    folder: Path
    since: datetime
    until: datetime | None = None
    known: Known = field(default_factory=Known)
    faults: Sequence[Fault] = ()
    manner: Manner = field(default_factory=Manner)
    shuffled: int | None = None
    policy: Path | None = None
    start: str | None = None
    steward: bool = True
    wait: bool = True
    patience: float = 300.0


def run(plan: Plan, say: Callable[[str], None]) -> Outcome:
    """The whole replay. However it ends, no process of it is left.

    Raises:
        SettingsError, ReplayError: it cannot begin, or what takes part in it stands still.
    """
    beginning.fresh(plan.folder)
    folder = plan.folder.absolute()
    experiment = Experiment.composed(plan.words)
    registry = Registry(folder / "registry")
    words = beginning.before(experiment, plan.since, folder, plan.shuffled)
    policy = beginning.policy(plan.policy, words, folder / "policy.yaml")
    ledger = LedgerSettings(path=str(folder / "ledger"))
    with _terminable(say), Children(folder / "logs") as children:
        say(f"Training {experiment.name} on what was known before {plan.since:%Y-%m-%d} …")
        if plan.start is not None:
            beginning.take(experiment, plan.start, registry)
        else:
            beginning.train(experiment, words, registry, children, folder / "first")
        first = beginning.champion(experiment, registry, anyhow=plan.shuffled is not None)
        played = _prepared(plan, experiment, registry, ledger, first)
        say(f"Version {first} is champion. {len(played.timeline):,} records are to come.")
        port = _serve(children, played)
        if plan.steward:
            _watch(children, played, folder)
        try:
            asyncio.run(_live(plan, played, port, _pace(plan, played, policy, children), say))
        finally:
            played.sent.frame(played.timeline.moments).write_parquet(folder / SENT)
        if plan.steward:
            children.end("steward")
    say("Weighing the year …")
    found = outcome.weigh(played, margin=experiment.margin)
    (folder / OUTCOME).write_text(json.dumps(outcome.plain(found), indent=2, ensure_ascii=False), encoding="utf-8")
    (folder / PAGE).write_text(page.render(found), encoding="utf-8")
    say(f"{summary(found)}\nThe year: {folder / PAGE}")
    return found


def summary(found: Outcome) -> str:
    """The totals in a few lines."""
    kinds, compared = found.kinds, found.champion
    counts = ", ".join(f"{kinds.get(kind, 0)} {name}" for kind, name in _COUNTED.items())
    return (
        f"{found.served:,} of {found.records:,} records answered, {found.failed:,} failed; "
        f"{found.labelled:,} labels in the ledger.\n{counts}.\n"
        f"{found.loss.replace('_', ' ')}: champion {compared.ours:.4f}, version 1 throughout {compared.theirs:.4f}, "
        f"difference {compared.difference:+.4f} ({compared.lower:+.4f} to {compared.upper:+.4f}, days resampled)."
    )


_COUNTED = {
    "retrain": "retrainings",
    "promote": "promotions",
    "rollback": "rollbacks",
    "drop": "dropped",
    "hold": "holds",
}


def _prepared(plan: Plan, experiment: Experiment, registry: Registry, ledger: LedgerSettings, first: str) -> Played:
    manifest: Manifest = registry.describe(experiment.name, first)
    identity, goal = manifest.identity, manifest.schema.only(Role.TARGET)
    assert goal is not None
    target = Target(name=goal.name, objective=identity.objective, classes=tuple(identity.classes))
    faults.check(plan.faults, manifest.schema)
    line: Timeline = timeline.read(
        experiment.data, manifest.schema, target, plan.known, since=plan.since, until=plan.until
    )
    if plan.shuffled is not None:
        line = line.shuffled(plan.shuffled)
    return Played(
        model=experiment.name,
        registry=registry,
        ledger=ledger,
        first=first,
        timeline=line,
        rows=faults.apply(line.rows, line.moments, plan.faults),
        sent=Sent(ids=[None] * len(line)),
        faults=plan.faults,
    )


def _serve(children: Children, played: Played) -> int:
    """Start the server; returns its port once it is ready."""
    for attempt in range(_TRIES):
        with socket.create_server((_HOST, 0)) as probe:
            port: int = probe.getsockname()[1]
        where = ["--registry", played.registry.path, "--model", played.model, "--port", str(port)]
        ledger = [f"ledger.path={played.ledger.path}", f"ledger.ship_seconds={_SHIP}", "ledger.fsync=never"]
        children.start("server", [*_PROGRAM, "serve", *where, *ledger, f"watch_seconds={_SHIP}"])
        try:
            _await(port, children)
            break
        except ReplayError:  # a port that was free may be taken before HAProxy has it
            if attempt == _TRIES - 1:
                raise
            children.end("server")
    return port


def _await(port: int, children: Children) -> None:
    end = time.monotonic() + _STARTED
    while not _ready(port):
        children.check()
        if time.monotonic() > end:
            raise ReplayError(
                "The server answers before long",
                observed=f"not after {_STARTED:.0f} s",
                remedy="see logs/server.log in the replay's folder",
            )
        time.sleep(0.1)


def _ready(port: int) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy
    try:
        with opener.open(f"http://{_HOST}:{port}/health", timeout=10) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _watch(children: Children, played: Played, folder: Path) -> None:
    where = ["--registry", played.registry.path, "--model", played.model, "--ledger", str(played.ledger.path)]
    files = ["--policy", str(folder / "policy.yaml"), "--work", str(folder / "retrainings")]
    children.start("steward", [*_PROGRAM, "steward", *where, *files])


def _pace(plan: Plan, played: Played, policy: Policy, children: Children) -> "pacing.Pace | None":
    if not (plan.steward and plan.wait):
        return None
    return pacing.Pace(
        Path(str(played.ledger.path), played.model, "steward", pacing.STATUS),
        period=policy.period,
        grace=timedelta(hours=policy.time.grace_hours),
        patience=plan.patience,
        check=children.check,
        since=plan.since,
    )


async def _live(plan: Plan, played: Played, port: int, pace: "pacing.Pace | None", say: Callable[[str], None]) -> None:
    """Let time pass."""
    sent, told = played.sent, [""]

    async def pause(latest: datetime) -> None:
        if pace is not None:
            await pace.weighed(latest)
        if (month := f"{latest:%Y-%m}") != told[0]:
            told[0] = month
            status = f", champion {pace.champion}" if pace is not None else ""
            say(f"{latest:%Y-%m-%d}: {sent.served:,} answered, {sum(sent.failures.values()):,} failed{status}")

    async with Connections(_HOST, port, plan.manner.connections) as server:
        await traffic.send(played.timeline, played.rows, server, plan.manner, pause, sent)
        if pace is not None:
            await pace.settled(_SETTLED)
            sent.waited = pace.waited


@contextlib.contextmanager
def _terminable(say: Callable[[str], None]) -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that what must be ended at its end is."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if main else None
    try:
        yield
    except KeyboardInterrupt:
        say("Stopped: server, steward and trainings have been ended.")
        raise
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
