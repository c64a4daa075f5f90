"""The steward: reads ledger and registry, weighs, decides, and acts through the registry.

    registry, ledger → weighing → a proposal → a decision in the book → a change of the registry, or a retraining

Whatever it holds can be made again from the ledger, the book and the registry. It may be killed between any two steps:
a decision that stands in the book and not in the registry is carried out by whoever looks next, in the state of the
registry that it was made for, or never. So two stewards at once do no harm either.
"""

import hashlib
import json
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tidemill.bundle.registry.registry import Registry
from tidemill.bundle.registry.rollout import Desired
from tidemill.bundle.registry.store import explained, open_store
from tidemill.errors import TidemillError
from tidemill.ledger import tables
from tidemill.ledger.settings import LedgerSettings, Masking
from tidemill.steward import acting, deciding, snapshots, status, weighing
from tidemill.steward.book import Book, Decision, Kind
from tidemill.steward.deciding import Proposal, Situation, propose
from tidemill.steward.notices import Notices
from tidemill.steward.policy import Authority, Clock, Policy
from tidemill.steward.retraining import readiness
from tidemill.steward.retraining.aging import Horizon
from tidemill.steward.retraining.readiness import Readiness
from tidemill.steward.retraining.retraining import Retraining, State
from tidemill.steward.watch import Reading, Severity
from tidemill.steward.watching import unwatched
from tidemill.steward.weighing import Weighing

LOG = logging.getLogger(__name__)

_LONGEST_PAUSE = 1.0  # seconds, of pauses that grow
_STATE = "steward/state.json"
_FORMAT = 5
"""Of what is kept between looks: another number where what is weighed, or how, has changed; then it is weighed anew."""
_WEIGHED_BY = ("time", "losses", "labels", "watches", "trial")
"""The parts of a policy whose change makes what was weighed before worthless."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Office:
    """Where a steward works: registry and ledger of one model, and a local folder for its retrainings."""

    registry: str
    model: str
    ledger: LedgerSettings
    work: Path


class Steward:
    """One model's steward: `look` once, or `run` until told to stop.

    Raises:
        SettingsError: (at once) the policy names a watch or a setting that there is not.
        RegistryError: (at once) the registry cannot be reached.
    """

    def __init__(self, office: Office, policy: Policy) -> None:
        self._office, self._given, self._policy = office, policy, policy
        self._registry = Registry(office.registry)
        self._book = Book(office.ledger, office.model)
        self._weighing = self._beginning()
        self._notices = Notices(office.model, policy.notify.webhook)
        self._alarms: set[tuple[str, str]] = set()
        self._entered = self._idle = False
        self._retraining: Retraining | None = None
        self._covered: Mapping[str, Masking] = {}
        self._ready: tuple[object, Readiness] | None = None
        self._waits = ""
        assert office.ledger.path is not None
        with explained(office.ledger.path, "ledger"):
            self._store = open_store(office.ledger.path)
            self._store.filesystem.makedirs(f"{self._store.root}/{office.model}/steward", exist_ok=True)

    @property
    def _fingerprint(self) -> str:
        weighed_by = {"format": _FORMAT, **{name: asdict(self._policy)[name] for name in _WEIGHED_BY}}
        content = json.dumps(weighed_by, default=str)
        return hashlib.sha256(content.encode()).hexdigest()

    def _uncover(self) -> None:
        """Leave out, from the beginning, what the server masks or hashes: such columns say nothing of themselves."""
        stated = tables.masked(self._office.ledger, self._office.model)
        covered = (self._covered or self._office.ledger.columns) if stated is None else stated
        if covered != self._covered:
            names = [name for name, found in covered.items() if found is not Masking.KEEP]
            self._covered, self._policy = covered, unwatched(self._given, names)
            self._weighing, self._entered = self._beginning(), False

    def _beginning(self) -> Weighing:
        office = self._office
        return Weighing(self._policy, office.ledger, office.model, self._registry, self._book)

    def run(self, ended: threading.Event) -> None:
        """Look again and again. What goes wrong at one look is logged, and tried again at the next."""
        said, idle = "", 0
        while not ended.is_set():
            try:
                more, trouble = self.look(), ""
            except Exception as error:  # whatever it is: a model whose steward has ended is watched by nobody
                more, trouble = False, f"{type(error).__name__}: {error}"
                if trouble != said:
                    LOG.error("The steward goes on after: %s", trouble, exc_info=not isinstance(error, TidemillError))
            said = trouble
            idle = 0 if more else idle + 1
            if idle:
                ended.wait(_pause(self._policy.time.look_seconds, idle))

    def close(self) -> None:
        """A retraining that runs goes on; the next steward takes it up."""
        self._notices.close()

    def look(self, now: datetime | None = None) -> bool:
        """Take in what has come, and do what is due; whether there is more to do at once.

        Raises:
            TidemillError: a part is out of reach, or a decision cannot be carried out; the next look tries again.
        """
        model = self._office.model
        desired, decisions = self._registry.desired(model), self._book.decisions()
        acts, stuck = self._policy.mode is not Authority.OBSERVE, None
        due = acting.due(decisions, desired, self._policy) if acts else None
        if due is not None:
            try:
                return self._act(due, desired)
            except TidemillError as error:  # a version that was deleted, say: then nothing else is decided
                stuck = error
        if desired.champion is None:
            if not self._idle:
                LOG.warning("Nothing to watch: no version of %s is champion in %s", model, self._office.registry)
            self._idle = True
            return False
        self._idle = False
        now = now or datetime.now(UTC)
        self._uncover()
        self._enter(desired, decisions, now)
        before = self._weighing.progress.seen_until, self._weighing.progress.labelled_until
        try:
            more = self._weighing.advance(now)
        except BaseException:  # a part of a period may be in it, which would be taken in twice
            self._weighing, self._entered = self._beginning(), False
            raise
        if (self._weighing.progress.seen_until, self._weighing.progress.labelled_until) != before:
            self._alarm()
            self._keep()
        begun, outcome, decided = self._begun(decisions) if acts else None, None, False
        if due is None:
            try:
                outcome = self._train(begun) if begun is not None else None
            except TidemillError as error:  # a cluster out of reach, say: a trial does not wait for it
                stuck = error
            situation = self._situation(desired, decisions, begun, outcome)
            proposal = self._proposal(situation) if situation is not None else None
            decided = situation is not None and proposal is not None and self._decide(proposal, situation, desired)
        content = status.content(self._office.model, self._policy, desired, self._weighing, begun, self._waits)
        self._store.replace(self._office.model, status.FILE, content)
        if stuck is not None:
            raise stuck
        return more or decided

    def _enter(self, desired: Desired, decisions: Sequence[Decision], now: datetime) -> None:
        self._weighing.enter(desired, decisions)
        if self._entered:
            return
        content = self._store.read(self._office.model, _STATE)
        try:
            state = json.loads(content) if content is not None else {}
            if state.get("fingerprint") == self._fingerprint:
                self._weighing.restore(snapshots.restored(weighing.State, state["weighing"]), now)
                self._alarms = set(self._harm())
        except Exception as error:  # whatever is in it: all of it can be made again
            LOG.warning("What was weighed is weighed again: %s cannot be read (%s)", _STATE, error)
            self._weighing = self._beginning()
            self._weighing.enter(desired, decisions)
        self._entered = True

    def _keep(self) -> None:
        content = {"fingerprint": self._fingerprint, "weighing": snapshots.plain(self._weighing.state())}
        self._store.replace(self._office.model, _STATE, json.dumps(content).encode())

    def _situation(
        self, desired: Desired, decisions: Sequence[Decision], begun: Decision | None, outcome: State | None
    ) -> Situation | None:
        weighing = self._weighing
        progress = weighing.progress
        if progress.labelled_until is None or progress.began is None:
            return None
        return Situation(
            moment=progress.labelled_until,
            began=progress.began,
            desired=desired,
            decisions=decisions,
            trial=weighing.trial,
            alarms=[alarm for alarms in weighing.alarms.values() for alarm in alarms],
            retraining=(str(begun.retraining), outcome) if begun is not None else None,
        )

    def _proposal(self, now: Situation) -> Proposal | None:
        """What is proposed; a retraining only once there are the records that its gate needs."""
        found, self._waits = propose(self._policy, now), ""
        if found is None or found.kind is not Kind.RETRAIN:
            return found
        gain, key = deciding.gain(found.evidence), (now.desired.generation, now.moment.date())
        if self._ready is None or self._ready[0] != key:  # the ledger is read for it, so once a day
            office, horizon = self._office, self._horizon(now.moment)
            ledger = replace(office.ledger, columns=self._covered)
            ready = readiness.look(self._policy.retrain, ledger, self._registry, office.model, horizon, gain)
            self._ready = (key, ready)
        self._waits = self._ready[1].why
        return deciding.unready(found, self._ready[1], now.desired.champion) if self._waits else found

    def _horizon(self, moment: datetime) -> Horizon:
        """The records that have been weighed at a moment, with the labels that were weighed."""
        time = self._policy.time
        labels_before = moment + timedelta(hours=time.label_wait_hours)
        return Horizon(until=moment, known_before=labels_before, event_clock=time.clock is Clock.EVENT)

    def _decide(self, proposal: Proposal, now: Situation, desired: Desired) -> bool:
        """Write it down, unless it stands there already, another proposal waits or another steward was faster."""
        acts = self._policy.mode is Authority.ACT
        note = proposal.kind is Kind.HOLD or (proposal.kind is Kind.DROP and proposal.retraining is not None)
        proposed = not acts and not note
        decision = Decision(
            number=1 + max((one.number for one in now.decisions), default=0),
            kind=proposal.kind,
            moment=now.moment,
            reason=proposal.reason,
            generation=desired.generation,
            champion=desired.champion,
            version=proposal.version,
            share=proposal.share,
            retraining=proposal.retraining,
            proposed=proposed,
            evidence=proposal.evidence,
        )
        standing = acting.in_force(now.decisions) if acts else now.decisions
        waits = not acts and proposal.kind in (Kind.RETRAIN, Kind.HOLD) and acting.waiting(standing, desired.generation)
        if waits or any(one.same == decision.same for one in standing) or not self._book.decide(decision):
            return False
        self._notices.decided(decision)
        return not proposed

    def _act(self, decision: Decision, desired: Desired) -> bool:
        done = acting.carry_out(self._registry, self._office.model, decision, desired, self._policy)
        if not done:
            LOG.info("Decision %d is void: the registry has changed since", decision.number)
        return True

    def _begun(self, decisions: Sequence[Decision]) -> Decision | None:
        """The retraining that was begun and that nothing was decided about yet."""
        closed = {one.retraining for one in decisions if one.kind is not Kind.RETRAIN}
        begun = [one for one in acting.in_force(decisions) if one.kind is Kind.RETRAIN and one.retraining not in closed]
        return begun[-1] if begun else None

    def _train(self, decision: Decision) -> State | None:
        """What the retraining came to, once it has ended."""
        office = self._office
        name = f"{decision.retraining}-{decision.at:%Y%m%d-%H%M%S}"  # another ledger's first one may lie there as well
        if self._retraining is None or self._retraining.folder.name != name:
            self._retraining = Retraining(
                settings=self._policy.retrain,
                folder=office.work / name,
                ledger=replace(office.ledger, columns=self._covered),
                registry=office.registry,
                model=office.model,
                horizon=self._horizon(decision.moment),
                gain=deciding.gain(decision.evidence),
            )
        state = self._retraining.advance()
        return state if state.ended else None

    def _alarm(self) -> None:
        """Tell of alarms of severity harm that were not there at the look before."""
        now = self._harm()
        for key in sorted(now.keys() - self._alarms):
            self._notices.alarmed(now[key])
        self._alarms = set(now)

    def _harm(self) -> dict[tuple[str, str], Reading]:
        alarms = (one for alarms in self._weighing.alarms.values() for one in alarms)
        return {(one.check, one.subject): one for one in alarms if one.severity is Severity.HARM}


def _pause(seconds: float, idle: int) -> float:
    """Seconds until the next look; those of less than a second grow while nothing happens, as each look costs some."""
    return max(seconds, min(seconds * (1 + idle / 10), _LONGEST_PAUSE))
