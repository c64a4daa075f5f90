"""A replay from beginning to end: train on the time before, serve, let time pass, and show what came of it.

Everything lies in the replay's own folder: registry/, ledger/, logs/, sent.parquet, outcome.json and replay.html.
"""

import asyncio
import contextlib
import json
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from tidemill.bundle.manifest import Identity
from tidemill.bundle.registry.registry import Registry
from tidemill.data.labels import maturity
from tidemill.errors import ReplayError
from tidemill.ledger.settings import LedgerSettings
from tidemill.replay import first_version
from tidemill.replay.first_version import Base, Experiment, champion, train
from tidemill.replay.folder import claimed
from tidemill.replay.live import pacing, server, traffic
from tidemill.replay.live.children import Children
from tidemill.replay.live.connections import Connections
from tidemill.replay.live.progress import Progress
from tidemill.replay.live.server import HOST, PROGRAM
from tidemill.replay.live.traffic import Sent
from tidemill.replay.plan import Plan
from tidemill.replay.policy import fitted
from tidemill.replay.results import live_quality, outcome, page
from tidemill.replay.results.live_quality import Constant
from tidemill.replay.results.outcome import Outcome, Replayed
from tidemill.replay.table import faults, timeline
from tidemill.replay.table.timeline import Timeline
from tidemill.replay.table.window import TimeWindow, cut
from tidemill.steward import watching
from tidemill.steward.policy import Policy

PAGE, OUTCOME, SENT = "replay.html", "outcome.json", "sent.parquet"
_SETTLED = 60.0  # seconds in which the steward may take in what came last
_HASTE = timedelta(days=2)


def run(plan: Plan, say: Callable[[str], None]) -> Outcome:
    """The whole replay. However it ends, no process of it is left.

    Raises:
        SettingsError, ReplayError: it cannot begin, or what takes part in it stands still.
    """
    folder = plan.folder.absolute()
    with claimed(folder) as sending, _terminable(say), Children(folder / "logs") as children:
        ready = _ready_to_train(plan, folder)
        say(_beginning(ready, plan))
        if plan.start is None:
            train(ready.base.words, ready.registry, children, folder / "first")
        first = champion(ready.experiment, ready.registry, folder / "first", anyhow=plan.shuffled is not None)
        played = _played(ready, plan, folder, first)
        say(f"Version {first} is champion. Serving it, and sending …")
        sending()
        port = server.start(children, played.registry.path, played.model, played.ledger)
        if plan.steward:
            _watch(children, played, folder)
        try:
            asyncio.run(_live(plan, played, port, _pace(plan, played, ready, children), say))
        finally:
            played.sent.frame(played.timeline.moments).write_parquet(folder / SENT)
        if plan.steward:
            children.end("steward")
    say("Weighing what came of it …")
    found = outcome.weigh(played, margin=ready.experiment.margin)
    (folder / OUTCOME).write_text(json.dumps(outcome.plain(found), indent=2, ensure_ascii=False), encoding="utf-8")
    (folder / PAGE).write_text(page.render(found), encoding="utf-8")
    say(f"{summary(found)}\nAll of it: {folder / PAGE}\n\n{judged(found)}")
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ready:
    """Everything that can be known, and so be wrong, before a model is trained."""

    experiment: Experiment
    registry: Registry
    window: TimeWindow
    base: Base
    timeline: Timeline
    policy: Policy
    constant: Constant


def _ready_to_train(plan: Plan, folder: Path) -> _Ready:
    experiment = Experiment.composed(plan.words)
    registry = Registry(folder / "registry")
    window, before = cut(experiment.data, plan.known, plan.since, plan.until)
    base = first_version.base(experiment, window, before, folder, plan.shuffled)
    schema, target = base.schema, base.target
    if plan.start is not None:
        schema, target = first_version.take(experiment, plan.start, registry)
    faults.check(plan.faults, schema)
    faults.check_dates(plan.faults, window.since, window.end)
    policy = fitted(plan.policy, base.words, window, base.spread, folder / "policy.yaml")
    identity = Identity(
        model=experiment.name, version=None, created="", objective=target.objective, classes=list(target.classes)
    )
    watching.check(policy, schema, identity)
    until = window.since + _HASTE if plan.hasty and plan.until is None else plan.until
    line = timeline.read(experiment.data, schema, target, plan.known, since=window.since, until=until)
    if plan.shuffled is not None:
        line = line.shuffled(plan.shuffled)
    if plan.steward and not plan.hasty:
        _check_wait(policy, window, line.moments[-1])
    return _Ready(
        experiment=experiment,
        registry=registry,
        window=window,
        base=base,
        timeline=line,
        policy=policy,
        constant=Constant.of(target, target.encode(base.labels)),
    )


def _check_wait(policy: Policy, window: TimeWindow, last: datetime) -> None:
    """
    Raises:
        ReplayError: the records end before the first label is weighed, so that all of the loop would be for nothing.
    """
    wait = timedelta(hours=policy.time.label_wait_hours)
    if window.since + wait < last:
        return
    asked = f"{policy.time.label_wait_hours:g} hours ({maturity.days(wait)}) after its record (time.label_wait_hours)"
    raise ReplayError(
        "A steward that is replayed weighs labels before the records end",
        observed=f"each is weighed {asked}, and the records end {maturity.days(last - window.since)} after --from; "
        f"{window.lag / timedelta(hours=1):,.0f} hours is how late labels come",
        remedy="choose an earlier --from or a later --until, lower --mature-share or time.label_wait_hours in --policy "
        "(labels that come later are not weighed then), or add --no-steward: serve and compare, decide nothing",
    )


def _beginning(ready: _Ready, plan: Plan) -> str:
    since, line, window = ready.window.since, ready.timeline, ready.window
    wait, last = timedelta(hours=ready.policy.time.label_wait_hours), line.moments[-1]
    training = f"Training {ready.experiment.name} on what was known before" if plan.start is None else "Beginning at"
    said = [f"{training} {since:%Y-%m-%d %H:%M}; {len(line):,} records until {last:%Y-%m-%d} are to come …"]
    if window.maturity.records:
        said += window.maturity.sentences()
    if plan.steward and not plan.hasty:
        said.append(
            f"Labels are weighed {maturity.days(wait)} after their records, so from {since + wait:%Y-%m-%d} on."
        )
        if since + 2 * wait >= last:
            said[-1] += " A model that is trained then has no time left for a trial: none will be promoted."
    return "\n".join(said)


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


def judged(found: Outcome) -> str:
    """Whether answers were worth what was promised: the last words."""
    kept, said = live_quality.verdict(found.kept, found.loss)
    return "\n".join(said if kept else [*said, *found.shifted])


_COUNTED = {
    "retrain": "retrainings",
    "promote": "promotions",
    "rollback": "rollbacks",
    "drop": "dropped",
    "hold": "holds",
}


def _played(ready: _Ready, plan: Plan, folder: Path, first: str) -> Replayed:
    line = ready.timeline
    return Replayed(
        model=ready.experiment.name,
        registry=ready.registry,
        ledger=LedgerSettings(path=str(folder / "ledger")),
        first=first,
        timeline=line,
        rows=faults.apply(line.rows, line.moments, plan.faults),
        sent=Sent(ids=[None] * len(line)),
        faults=plan.faults,
        constant=ready.constant,
        maturity=ready.window.maturity,
        period=ready.policy.period,
    )


def _watch(children: Children, played: Replayed, folder: Path) -> None:
    where = ["--registry", played.registry.path, "--model", played.model, "--ledger", str(played.ledger.path)]
    files = ["--policy", str(folder / "policy.yaml"), "--work", str(folder / "retrainings")]
    children.start("steward", [*PROGRAM, "steward", *where, *files])


def _pace(plan: Plan, played: Replayed, ready: _Ready, children: Children) -> "pacing.Pace | None":
    if not (plan.steward and plan.wait):
        return None
    return pacing.Pace(
        Path(str(played.ledger.path), played.model, "steward", pacing.STATUS),
        period=ready.policy.period,
        grace=timedelta(hours=ready.policy.time.grace_hours),
        patience=plan.patience,
        check=children.check,
        since=ready.window.since,
    )


async def _live(
    plan: Plan, played: Replayed, port: int, pace: "pacing.Pace | None", say: Callable[[str], None]
) -> None:
    """Let time pass."""
    sent, told, shown = played.sent, [""], Progress(len(played.timeline))

    async def pause(latest: datetime) -> None:
        if pace is not None:
            await pace.weighed(latest)
        status = f", champion {pace.champion}" if pace is not None and pace.champion else ""
        shown.show(latest, sent.asked, status)
        if (month := f"{latest:%Y-%m}") != told[0]:
            told[0] = month
            shown.end()
            say(f"{latest:%Y-%m-%d}: {sent.served:,} answered, {sum(sent.failures.values()):,} failed{status}")

    async with Connections(HOST, port, plan.manner.connections) as server:
        await traffic.send(played.timeline, played.rows, server, plan.manner, pause, sent)
        shown.end()
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
