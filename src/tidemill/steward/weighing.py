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
from tidemill.data.schema import Role
from tidemill.errors import LedgerError
from tidemill.ledger.settings import LedgerSettings
from tidemill.moments import EPOCH, floor
from tidemill.steward import acting, labels, snapshots
from tidemill.steward.book import Book, Decision
from tidemill.steward.losses import Loss
from tidemill.steward.policy import Policy
from tidemill.steward.records import DuePeriods, Records, Span
from tidemill.steward.trial import checked
from tidemill.steward.trial.checked import CheckedTrial
from tidemill.steward.trial.comparison import Comparison, Stage
from tidemill.steward.watch import Learner, Reading, Watch
from tidemill.steward.watches.performance import Performance
from tidemill.steward.watching import watched_version, watches

LOG = logging.getLogger(__name__)

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Reign:
    """A champion's time: watches begin anew with each. since: arrival of the first request it may answer.

    has_label: whether a record has a label of the model's kind.
    """

    champion: str
    since: datetime
    has_label: pl.Expr
    losses: Loss
    watches: dict[str, Watch]


class Weighing:
    """All that is weighed of one model: `enter`, then `advance`; `trial`, `alarms` and `progress` say what there is."""

    _reign: Reign
    _records: Records

    def __init__(self, policy: Policy, ledger: LedgerSettings, model: str, registry: Registry, book: Book) -> None:
        self._policy, self._ledger, self._model = policy, ledger, model
        self._registry, self._book = registry, book
        self._settings = watches(policy)
        self._trial_of = (-1, EPOCH)
        self.trial: CheckedTrial | None = None
        self.alarms: dict[str, list[Reading]] = {}
        self.progress = Progress(since=EPOCH)
        self.champion: str | None = None

    def enter(self, desired: Desired, decisions: Sequence[Decision]) -> None:
        """Turn to what the registry says now: the champion's watches, the challenger's trial."""
        if self.champion != str(desired.champion):
            self._crown(str(desired.champion))
        if desired.generation != self._trial_of[0]:
            self._try(desired, decisions)

    def advance(self, now: datetime) -> bool:
        """Take in what is over; whether there is more to take in at once.

        Raises:
            TidemillError: a record that no policy foresaw.
        """
        progress, rules, period = self.progress, self._policy.time, self._policy.period
        grace = timedelta(hours=rules.grace_hours)
        horizon = self._records.horizon(progress.since, now)
        if horizon is None:
            return False
        if progress.seen_until is None:
            first = self._records.first(progress.since, horizon)
            if first is None:
                return False
            progress.began = progress.seen_until = progress.labelled_until = floor(first, period)
        seen, labelled = progress.seen_until, progress.labelled_until
        assert labelled is not None, "it is set together with seen_until"
        traffic = horizon - period - grace
        ripe = traffic - timedelta(hours=rules.label_wait_hours)
        due = DuePeriods(period=period)  # a single one is read at once
        if seen < traffic:
            span = Span(begin=labelled, end=min(traffic, seen + LIMIT * period) + period, since=progress.since)
            due = self._records.due(span, period)
        for left in reversed(range(LIMIT)):
            before = seen, labelled
            if seen <= traffic:
                goes_on = left > 0 and seen + period <= traffic
                seen = progress.seen_until = self._look(seen, due, goes_on=goes_on)
            if labelled <= ripe and labelled < seen:
                goes_on = left > 0 and labelled + period <= ripe
                is_read = not (goes_on and due.is_empty(labelled))
                labelled = progress.labelled_until = self._weigh(labelled, due, goes_on=goes_on)
                first = self._records.arrival(progress.since, labelled) if is_read else None
                progress.since = first - grace if first is not None else progress.since
            if (seen, labelled) == before:
                return False
        return True

    def _look(self, begin: datetime, due: DuePeriods, *, goes_on: bool) -> datetime:
        """The traffic of a period that is over; returns its end. goes_on: the next one follows at once."""
        reign, mine = self._reign, self._watches(labelled=False)
        span = Span(begin=begin, end=begin + self._policy.period, since=self.progress.since)
        for piece in self._records.pieces(span) if not due.is_empty(begin) else ():
            traffic = piece.filter(pl.col("at") >= reign.since)
            rows = traffic.filter(pl.col("version") == reign.champion)
            for watch in mine:
                if (given := traffic if watch.canary else rows).height:
                    watch.take(given)
        readings = [reading for watch in mine for reading in watch.close(begin, span.end)]
        self._conclude("traffic", readings, span.end, is_read=not (goes_on and due.stays_empty(begin)))
        return span.end

    def _weigh(self, begin: datetime, due: DuePeriods, *, goes_on: bool) -> datetime:
        """The labels of a period that has waited for them; returns its end. goes_on: the next one follows at once."""
        reign, mine, trial = self._reign, self._watches(labelled=True), self.trial
        span = Span(begin=begin, end=begin + self._policy.period, since=self.progress.since)
        until = span.end + timedelta(hours=self._policy.time.label_wait_hours)
        coverage = labels.Coverage(rules=self._policy.labels, has_label=reign.has_label)
        for piece in self._records.labelled(span, until) if not due.is_empty(begin) else ():
            coverage.take(piece)
            labelled = piece.filter(reign.has_label)
            rows = labelled.filter(pl.col("version") == reign.champion, pl.col("at") >= reign.since)
            for watch in reign.watches.values() if rows.height else ():
                if watch.labelled:
                    watch.take(rows)
                if isinstance(watch, Learner):
                    watch.learn(rows)
            if trial is not None:
                tried = labelled.filter(pl.col("at") >= self._trial_of[1])
                trial.take(tried, self._records.shadows(tried, trial.comparison.challenger))
        readings = [reading for watch in mine for reading in watch.close(begin, span.end)] + coverage.readings()
        if trial is not None:
            trial.close()
            readings += trial.readings()
        self._conclude("labels", readings, span.end, is_read=not (goes_on and due.stays_empty(begin)))
        return span.end

    def _watches(self, *, labelled: bool) -> list[Watch]:
        return [watch for watch in self._reign.watches.values() if watch.labelled is labelled]

    def _conclude(self, source: str, readings: list[Reading], end: datetime, *, is_read: bool) -> None:
        """is_read: the book has what there is to say; else only if an alarm has begun or ended."""
        before = {(one.check, one.subject) for one in self.alarms.get(source, ())}
        self.alarms[source] = [reading for reading in readings if reading.alarm]
        if is_read or before != {(one.check, one.subject) for one in self.alarms[source]}:
            self._book.read(source, end, self._reign.champion, readings)

    def _crown(self, champion: str) -> None:
        """Begin to watch a version. What was seen and weighed of time stays so; watches begin without a past."""
        since = acting.crowned(self._registry, self._model, champion)
        watched = watched_version(self._policy, self._registry, self._model, champion)
        time = watched.manifest.schema.only(Role.TIME)
        self._records = Records(self._ledger, self._model, self._policy.time.clock, time.name if time else None)
        self._reign = Reign(
            champion=champion,
            since=since,
            has_label=labels.has_label(watched.manifest.identity),
            losses=watched.losses,
            watches={name: make(watched) for name, make in self._settings.items()},
        )
        self.champion, self.alarms = champion, {}
        if self.progress.seen_until is None:
            self.progress = Progress(since=since)

    def _try(self, desired: Desired, decisions: Sequence[Decision]) -> None:
        """Begin the trial of what the challenger is allowed to do, with the evidence that its decision carries on.

        A trial goes on where something else has changed, such as whether requests are answered.
        """
        (_, since), before, self.trial = self._trial_of, self.trial, None
        changes = self._registry.history(self._model)
        self._trial_of = (desired.generation, acting.compared_since(desired, changes))
        if desired.challenger is None or desired.mode is Mode.OFF:
            return
        champion, challenger, rules = self._reign.champion, desired.challenger, self._policy
        after = desired.mode is Mode.SHADOW and challenger == desired.previous
        probation = after and rules.trial.probation > 0
        comparison = Comparison(
            stage=Stage.PROBATION if probation else Stage(str(desired.mode)),
            tried=champion if probation else challenger,
            other=challenger if probation else champion,
            share=desired.share,
        )
        if before is not None and (before.comparison, since) == (comparison, self._trial_of[1]):
            self.trial = before
            return
        begun = acting.canary_decision(decisions, changes) if comparison.stage is Stage.CANARY else None
        carried = _carried(begun.evidence.get("carried")) if begun is not None else None
        self.trial = CheckedTrial(rules.trial, rules.labels, comparison, self._reign.losses, carried)

    @property
    def standing(self) -> dict[str, Any] | None:
        """The champion's live loss beside that of its test split; None where nothing watches it."""
        watches = self._reign.watches.values() if self.champion is not None else ()
        return next((watch.standing() for watch in watches if isinstance(watch, Performance)), None)

    def _compared(self) -> list[str | float]:
        """Of which trial the evidence is, as JSON holds it; the registry's times are whole seconds."""
        compared = astuple(self.trial.comparison) if self.trial is not None else ()
        return [self._trial_of[1].isoformat(), *compared]

    def state(self) -> State:
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
        LOG.warning("The evidence of the stage before is not carried on: %s", error)
        return None
