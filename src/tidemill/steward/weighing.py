"""Weighing: takes in what the ledger has, period by period, and keeps what all of it says so far.

A period's traffic is looked at as soon as it is over, its labels once they have had time to come and to get to the
tables, all at once: so labels that come sooner for large losses than for small ones bias nothing. What is kept can be
thrown away: it is made again, to the same figures, from the ledger (corrected labels count when they are there at that
time).
"""

import logging
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from tidemill.bundle.registry.registry import Registry
from tidemill.bundle.registry.rollout import Desired, Mode
from tidemill.data.schema import Role, Schema
from tidemill.errors import LedgerError
from tidemill.ledger.settings import LedgerSettings
from tidemill.moments import EPOCH, floor
from tidemill.steward import history, labels, snapshots
from tidemill.steward.book import Book, Decision
from tidemill.steward.policy import Policy
from tidemill.steward.records import Records, Span
from tidemill.steward.trial import checked
from tidemill.steward.trial.checked import CheckedTrial
from tidemill.steward.trial.comparison import Comparison, Stage
from tidemill.steward.watch import Learner, Reading, Watch
from tidemill.steward.watches.performance import Performance
from tidemill.steward.watching import watched_version, watches

log = logging.getLogger(__name__)

LIMIT = 50
"""Periods that one look takes in at most, of traffic and of labels: then decisions are due, and progress is kept."""


@dataclass(kw_only=True, slots=True)
class Progress:
    """How far things are.

    since: no record that matters from here on arrived before. began: the first period's begin.
    seen_until, labelled_until: ends of the last periods whose traffic, and whose labels, were taken in.
    """

    since: datetime
    began: datetime | None = None
    seen_until: datetime | None = None
    labelled_until: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What is stored between looks.

    champion, crowned: whose watches these are. watches: their states by name, as `snapshots.plain` gives them.
    compared: which trial the evidence is of. alarms: of the last period, by clock.
    """

    champion: str
    crowned: datetime
    compared: list[str | float]
    progress: Progress
    watches: dict[str, Any]
    trial: checked.State | None
    alarms: dict[str, list[Reading]]


@dataclass(kw_only=True, slots=True)
class Reign:
    """A champion's time: watches begin anew with each. since: arrival of the first request it may answer.

    known: which records have a label of its kind.
    """

    champion: str
    since: datetime
    schema: Schema
    known: pl.Expr
    watches: dict[str, Watch]


class Weighing:
    """All that is weighed of one model. `advance` it; `trial`, `alarms` and `progress` then say what there is."""

    def __init__(self, policy: Policy, ledger: LedgerSettings, model: str, registry: Registry, book: Book) -> None:
        self._policy, self._ledger, self._model = policy, ledger, model
        self._registry, self._book = registry, book
        self._settings = watches(policy)
        self._reign: Reign | None = None
        self._records: Records
        self._losses: Any = None
        self._trial_of = (-1, EPOCH)
        self.trial: CheckedTrial | None = None
        self.alarms: dict[str, list[Reading]] = {}
        self.progress = Progress(since=EPOCH)
        self.champion: str | None = None

    def enter(self, desired: Desired, decisions: Sequence[Decision]) -> None:
        """Turn to what the registry says now: the champion's watches, the challenger's trial."""
        champion = str(desired.champion)
        if self._reign is None or self._reign.champion != champion:
            self._crown(champion)
        if desired.generation != self._trial_of[0]:
            self._try(desired, decisions)

    def advance(self, now: datetime) -> bool:
        """Take in what is over; whether there is more to take in at once.

        Raises:
            TidemillError: a record that no policy foresaw.
        """
        progress, rules = self.progress, self._policy.time
        horizon = self._records.horizon(progress.since, now)
        if horizon is None:
            return False
        if progress.seen_until is None:
            first = self._records.first(progress.since, horizon)
            if first is None:
                return False
            progress.began = progress.seen_until = progress.labelled_until = floor(first, self._policy.period)
        for _ in range(LIMIT):
            traffic = horizon - self._policy.period - timedelta(hours=rules.grace_hours)
            ripe = traffic - timedelta(hours=rules.label_wait_hours)
            seen, labelled = progress.seen_until, progress.labelled_until
            assert seen is not None and labelled is not None
            if seen <= traffic:
                progress.seen_until = self._look(seen)
            if labelled <= ripe and labelled < progress.seen_until:
                progress.labelled_until = self._weigh(labelled)
                first = self._records.arrival(progress.since, progress.labelled_until)
                progress.since = first - timedelta(hours=rules.grace_hours) if first is not None else progress.since
            if (progress.seen_until, progress.labelled_until) == (seen, labelled):
                return False
        return True

    def _look(self, begin: datetime) -> datetime:
        """The traffic of a period that is over; returns its end."""
        assert self._reign is not None
        reign, end, progress = self._reign, begin + self._policy.period, self.progress
        mine = {name: watch for name, watch in reign.watches.items() if not watch.labelled}
        for piece in self._records.pieces(Span(begin=begin, end=end, since=progress.since)):
            traffic = piece.filter(pl.col("at") >= reign.since)
            rows = traffic.filter(pl.col("version") == reign.champion)
            for watch in mine.values():
                watch.take(traffic if watch.canary else rows)
        self._close("traffic", mine, begin, end, [])
        return end

    def _weigh(self, begin: datetime) -> datetime:
        """The labels of a period that has waited for them; returns its end."""
        assert self._reign is not None
        reign, progress = self._reign, self.progress
        end = begin + self._policy.period
        mine = {name: watch for name, watch in reign.watches.items() if watch.labelled}
        wait = timedelta(hours=self._policy.time.label_wait_hours)
        coverage = labels.Coverage(rules=self._policy.labels, known=reign.known)
        for piece in self._records.labelled(Span(begin=begin, end=end, since=progress.since), end + wait):
            coverage.take(piece)
            known = piece.filter(reign.known)
            rows = known.filter(pl.col("version") == reign.champion, pl.col("at") >= reign.since)
            for watch in mine.values():
                watch.take(rows)
            for watch in reign.watches.values():
                if isinstance(watch, Learner):
                    watch.learn(rows)
            if self.trial is not None:
                tried = known.filter(pl.col("at") >= self._trial_of[1])
                challenger = (
                    self.trial.comparison.other
                    if self.trial.comparison.stage is Stage.PROBATION
                    else self.trial.comparison.tried
                )
                self.trial.take(tried, self._records.shadows(tried, challenger))
        if self.trial is not None:
            self.trial.close()
        also = [*coverage.readings(), *(self.trial.readings() if self.trial is not None else [])]
        self._close("labels", mine, begin, end, also)
        return end

    def _close(self, source: str, mine: dict[str, Watch], begin: datetime, end: datetime, also: list[Reading]) -> None:
        assert self._reign is not None
        readings = [reading for watch in mine.values() for reading in watch.close(begin, end)] + also
        self._book.read(source, end, self._reign.champion, readings)
        self.alarms[source] = [reading for reading in readings if reading.alarm]

    def _crown(self, champion: str) -> None:
        """Begin to watch a version. What was seen and weighed of time stays so; watches begin without a past."""
        since = history.crowned(self._registry, self._model, champion)
        watched = watched_version(self._policy, self._registry, self._model, champion)
        time = watched.manifest.schema.only(Role.TIME)
        self._records = Records(self._ledger, self._model, self._policy.time.clock, time.name if time else None)
        self._losses = watched.losses
        self._reign = Reign(
            champion=champion,
            since=since,
            schema=watched.manifest.schema,
            known=labels.known(watched.manifest.identity),
            watches={name: make(watched) for name, make in self._settings.items()},
        )
        self.champion, self.alarms = champion, {}
        if self.progress.seen_until is None:
            self.progress = Progress(since=since)

    def _try(self, desired: Desired, decisions: Sequence[Decision]) -> None:
        """Begin the trial of what the challenger is allowed to do, with the evidence that its decision carries on.

        One goes on where something else has changed, such as whether requests are answered.
        """
        assert self._reign is not None
        held, since, self.trial = self.trial, self._trial_of[1], None
        changes = self._registry.history(self._model)
        self._trial_of = (desired.generation, history.compared_since(desired, changes))
        if desired.challenger is None or desired.mode is Mode.OFF:
            return
        champion, challenger = self._reign.champion, desired.challenger
        after = desired.mode is Mode.SHADOW and challenger == desired.previous
        probation = after and self._policy.trial.probation > 0
        stage = Stage.PROBATION if probation else Stage(str(desired.mode))
        comparison = Comparison(
            stage=stage,
            tried=champion if probation else challenger,
            other=challenger if probation else champion,
            share=desired.share,
        )
        if held is not None and (held.comparison, since) == (comparison, self._trial_of[1]):
            self.trial = held
            return
        led = history.led(decisions, changes) if stage is Stage.CANARY else None
        carried = led.evidence.get("carried") if led is not None else None
        rules = self._policy
        self.trial = CheckedTrial(rules.trial, rules.labels, comparison, self._losses, _carried(carried))

    @property
    def standing(self) -> dict[str, Any] | None:
        """The champion's live loss beside what was promised; None where nothing watches it."""
        watches = self._reign.watches.values() if self._reign is not None else ()
        return next((watch.standing() for watch in watches if isinstance(watch, Performance)), None)

    def _compared(self) -> list[str | float]:
        """Of which trial the evidence is, as JSON holds it; the registry's times are whole seconds."""
        compared = astuple(self.trial.comparison) if self.trial is not None else ()
        return [self._trial_of[1].isoformat(), *compared]

    def state(self) -> State:
        assert self._reign is not None
        return State(
            champion=self._reign.champion,
            crowned=self._reign.since,
            compared=self._compared(),
            progress=self.progress,
            watches={name: snapshots.plain(watch.state) for name, watch in self._reign.watches.items()},
            trial=self.trial.state if self.trial is not None else None,
            alarms=self.alarms,
        )

    def restore(self, state: State, now: datetime) -> None:
        """Go on from `state`, after `enter`, as far as it is about the same champion and challenger.

        Raises:
            LedgerError, KeyError: a watch has another state; this object is of no use then.
            ValueError: the state has weighed what is still to come.
        """
        assert self._reign is not None
        seen_until = state.progress.seen_until
        if seen_until is not None and seen_until > now:
            raise ValueError(f"it has seen all until {seen_until.isoformat()}, and now it is {now.isoformat()}")
        self.progress = state.progress
        if (state.champion, state.crowned) == (self._reign.champion, self._reign.since):
            for name, watch in self._reign.watches.items():
                watch.state = snapshots.restored(type(watch.state), state.watches[name])
            self.alarms = state.alarms
        if self.trial is not None and state.trial is not None and state.compared == self._compared():
            self.trial.state = state.trial


def _carried(stored: Any) -> checked.Carried | None:
    """What the decision that began a stage hands on to it."""
    try:
        return None if stored is None else snapshots.restored(checked.Carried, stored, strict=False)
    except LedgerError as error:
        log.warning("The evidence of the stage before is not carried on: %s", error)
        return None
