"""The outcome: what the year came to, from the ledger, the registry and the steward's book."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from tidemill.bundle.answers import Answers
from tidemill.bundle.registry.registry import Alias, Change, Registry
from tidemill.bundle.registry.rollout import Action
from tidemill.data.labels.maturity import Maturity
from tidemill.errors import ReplayError
from tidemill.ledger import tables
from tidemill.ledger.record import Role
from tidemill.ledger.settings import LedgerSettings
from tidemill.replay.live.traffic import Sent
from tidemill.replay.results import difference, live_quality
from tidemill.replay.results.alarms import Detection, named
from tidemill.replay.results.difference import CumulativeDifference, Difference
from tidemill.replay.results.live_quality import Constant, LiveQuality
from tidemill.replay.results.rescoring import Rescorer
from tidemill.replay.table.faults import Fault
from tidemill.replay.table.timeline import Timeline
from tidemill.settings import Objective
from tidemill.steward import book


@dataclass(frozen=True, kw_only=True, slots=True)
class Tenure:
    """A version as champion: from the first record that it answered as such until the next one's.

    action: what made it champion; until: None: it still is. against: this version and the one before it, by their
    bundles, on the records of this reign; harmful: it was worse than that one by more than the margin, for certain.
    """

    version: str
    action: str
    reason: str
    since: datetime
    until: datetime | None
    against: Difference | None = None
    harmful: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """Everything that the page shows.

    unrecorded: answers that the ledger lacks; twice: those it has more than once. labelled: answers with their label.
    gap: largest difference in loss between what the first version answered and what its bundle answers again: rounding.
    waited: seconds in which simulated time stood still for the steward.
    margin: share of the replaced version's loss that a promoted one may be worse by.
    promises: what versions promised and what came of it, all answers first. learnt: what was learnt from and what was
    left out. shifted: how live records differed from these.
    champion: who answered against the first version, on all records with an answer; months, course: the same in parts.
    decisions, readings: the steward's book.
    """

    model: str
    records: int
    served: int
    failures: Mapping[str, int]
    unlabelled: Mapping[str, int]
    unreadable: int
    unrecorded: int
    twice: int
    labelled: int
    gap: float
    days: Sequence[Mapping[str, Any]]
    waited: float
    loss: str
    margin: float
    promises: Sequence[LiveQuality]
    learnt: Sequence[str]
    shifted: Sequence[str]
    champion: Difference
    months: Sequence[tuple[date, Difference]]
    course: CumulativeDifference
    reigns: Sequence[Tenure]
    faults: Sequence[Detection]
    decisions: pl.DataFrame
    readings: pl.DataFrame

    @property
    def kept(self) -> Sequence[LiveQuality]:
        """Promises of those that answered: the last of several is of what would have been."""
        return self.promises[:-1] if len(self.promises) > 1 else self.promises

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    @property
    def kinds(self) -> Mapping[str, int]:
        """How many decisions of each kind were made or approved."""
        approved = self.decisions.filter(pl.col("kind") == "approve")["refers"].drop_nulls()
        made = ~pl.col("proposed").fill_null(False) | pl.col("number").is_in(approved.implode())
        return Counter(self.decisions.filter(made, pl.col("kind") != "approve")["kind"].to_list())


def plain(found: Outcome) -> dict[str, Any]:
    """As JSON holds it, without the steward's tables, which lie in the ledger."""
    names = [each.name for each in fields(found) if each.name not in ("decisions", "readings")]
    content = {name: _plain(getattr(found, name)) for name in names}
    return {**content, "failed": found.failed, "decided": dict(found.kinds)}


def _plain(value: Any) -> Any:
    if isinstance(value, Detection):
        return {"fault": str(value.fault), "check": value.check, "delay_days": _plain(value.delay), "says": value.says}
    if isinstance(value, LiveQuality):
        flags = {"broken": value.broken, "trivial": value.trivial}
        return {**{each.name: _plain(getattr(value, each.name)) for each in fields(value)}, **flags}
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, timedelta):
        return value.total_seconds() / 86_400
    if isinstance(value, date):
        return value.isoformat()
    return None if isinstance(value, float) and not np.isfinite(value) else value


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """What was sent, and where what came of it lies."""

    model: str
    registry: Registry
    ledger: LedgerSettings
    first: str
    """The version that stood at the beginning."""
    timeline: Timeline
    rows: pl.DataFrame
    """As they were sent."""
    sent: Sent
    faults: Sequence[Fault]
    constant: Constant
    """Fitted to what the first version learnt from."""
    maturity: Maturity
    """Of these records."""
    period: timedelta
    """Of the steward's policy."""


def weigh(played: Replayed, *, margin: float) -> Outcome:
    """Compare and count.

    Raises:
        ReplayError: the ledger holds no answer to what was sent.
    """
    timeline, sent = played.timeline, played.sent
    served = pl.Series(sent.ids, dtype=pl.String).is_not_null()
    kept = _kept(played)
    by_id = kept.unique("id", keep="first", maintain_order=True)
    both = sent.frame(timeline.moments).join(by_id, on="id", how="inner", maintain_order="left")
    if both.is_empty():
        raise ReplayError(
            "The ledger holds the answers that were given",
            observed=f"none of {served.sum():,} in {played.ledger.table(played.model, 'answers')}",
            remedy="see the log of the server in the replay's folder",
        )
    numbers = both["number"].to_numpy()
    models = Rescorer(played.registry, played.model, timeline, played.rows, numbers)
    moments = timeline.moments.gather(numbers)
    given, first = _answers(both, timeline), models.answers_of(played.first)
    ours, frozen = models.losses(given), models.losses(first)
    its_own = (both["version"] == played.first).to_numpy()
    gap = float(np.abs(ours - frozen)[its_own].max(initial=0.0))
    frozen = np.where(its_own, ours, frozen)  # equal but for rounding, which must not look like a difference
    compared = difference.between(ours, frozen, difference.days_of(moments))
    assert compared is not None
    # After the last record nothing more comes but labels: that it is silent then is no alarm, nor that a longer period
    # in which the records end has fewer of them.
    heard = pl.col("moment") <= timeline.moments[-1] + min(played.period, timedelta(days=1))
    told = heard | ~pl.col("check").is_in(["silence", "volume"])
    readings = book.readings(played.ledger, played.model).filter(told).collect()
    return Outcome(
        model=played.model,
        records=len(timeline),
        served=sent.served,
        failures=sent.failures,
        unlabelled=sent.unlabelled,
        unreadable=timeline.unreadable,
        unrecorded=int(served.sum()) - both.height,
        twice=kept.height - by_id.height,
        labelled=int(both["labelled"].sum()),
        gap=gap,
        days=sent.days,
        waited=sent.waited,
        loss="squared_error" if timeline.target.objective is Objective.REGRESSION else "log_loss",
        margin=margin,
        promises=_promises(played, both, moments, models, given, first),
        learnt=played.maturity.sentences() if played.maturity.records else [],
        shifted=live_quality.shifted(played.constant, timeline.target, models.labels),
        champion=compared,
        months=difference.by_month(ours, frozen, moments),
        course=difference.course(ours, frozen, moments),
        reigns=_reigns(played, both, moments, models, margin),
        faults=named(played.faults, readings),
        decisions=book.decisions(played.ledger, played.model).collect(),
        readings=readings,
    )


def _kept(played: Replayed) -> pl.DataFrame:
    """The ledger's rows for what was sent: who answered the client, what, and whether the label came."""
    answers = tables.joined(played.ledger, played.model).filter(pl.col("role") != Role.SHADOW.value)
    labelled = pl.col("true_label").is_not_null() | pl.col("true_value").is_not_null()
    kept = ["id", "version", "role", "probabilities", "value"]
    chosen = answers.select(*kept, labelled.alias("labelled")).collect()
    return chosen.join(pl.DataFrame({"id": pl.Series(played.sent.ids, dtype=pl.String)}), on="id", how="semi")


def _answers(both: pl.DataFrame, timeline: Timeline) -> Answers:
    if timeline.target.objective is Objective.REGRESSION:
        return {"value": both["value"].to_numpy()}
    width = len(timeline.target.classes)
    return {"probabilities": both["probabilities"].list.to_array(width).to_numpy()}


def _promises(
    played: Replayed, both: pl.DataFrame, moments: pl.Series, models: Rescorer, given: Answers, first: Answers
) -> list[LiveQuality]:
    """Of all answers together, of each version that answered, and of the first version on all records."""
    days, constant = difference.days_of(moments), played.constant
    found = []
    for version in both["version"].unique(maintain_order=True):
        mine = (both["version"] == version).to_numpy()
        part = {name: values[mine] for name, values in given.items()}
        found.append(
            live_quality.weighed(
                f"version {version}", models.manifest(version), models.labels[mine], part, constant, days[mine]
            )
        )
    if len(found) == 1:
        return found
    whole = live_quality.weighed("all answers", models.manifest(played.first), models.labels, given, constant, days)
    frozen = models.manifest(played.first)
    throughout = f"version {played.first}, had it stayed"
    return [
        replace(whole, promised=live_quality.mean(found), promised_score=None),
        *found,
        live_quality.weighed(throughout, frozen, models.labels, first, constant, days),
    ]


def _reigns(played: Replayed, both: pl.DataFrame, moments: pl.Series, models: Rescorer, margin: float) -> list[Tenure]:
    """The champions since the replay began that have answered anything, in order, each against the one before it."""
    begun = _begun(played, both)
    found: list[Tenure] = []
    for index, (change, begin) in enumerate(begun):
        end = begun[index + 1][1] if index + 1 < len(begun) else both.height
        compared, harmful = None, False
        if index:
            rows = slice(begin, end)
            days = difference.days_of(moments)[rows]
            ours, theirs = models.losses_of(change.version, rows), models.losses_of(begun[index - 1][0].version, rows)
            compared = difference.between(ours, theirs, days)
            beyond = difference.between(ours, (1 + margin) * theirs, days)
            harmful = change.action == Action.PROMOTE and beyond is not None and beyond.lower > 0
        found.append(
            Tenure(
                version=change.version,
                action=change.action,
                reason=change.reason,
                since=moments[begin],
                until=moments[end] if end < both.height else None,
                against=compared,
                harmful=harmful,
            )
        )
    return found


def _begun(played: Replayed, both: pl.DataFrame) -> list[tuple[Change, int]]:
    """Each change of the champion that was noticed, and the first row of `both` that its version answered as such.

    The history's own times are whole seconds, in which several simulated days may pass.
    """
    champion = both.select(pl.when(pl.col("role") == Role.CHAMPION.value).then("version")).to_series()
    found: list[tuple[Change, int]] = []
    after = 0
    for change in played.registry.history(played.model):
        if change.alias == Alias.CHAMPION and change.action in (Action.PROMOTE, Action.ROLLBACK):
            at = (champion[after:] == change.version).arg_max()
            if at is not None and champion[after + at] == change.version:
                found.append((change, after + at))
                after += at + 1
    return found
