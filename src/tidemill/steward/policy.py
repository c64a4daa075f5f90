"""The policy: what the steward weighs, how sure it must be, and what it may do by itself.

One YAML file; a key that it leaves out has the value that stands in policy.yaml, beside this module.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import yaml

from tidemill.composition import Conflict, Rule, build
from tidemill.errors import SettingsError
from tidemill.settings.rules import AtLeastOne, Days, Hours, NotNegative, Positive, Share, ShareOrEnd
from tidemill.steward import losses
from tidemill.steward.evidence.sequential import Spending
from tidemill.steward.retraining.command import RetrainSettings

SHOWN = "src/tidemill/steward/policy.yaml has all keys and their values"


class Authority(StrEnum):
    """observe: weighs and says what it would do; ask: proposes and waits for a person; act: does it."""

    OBSERVE = "observe"
    ASK = "ask"
    ACT = "act"


class Clock(StrEnum):
    """Which moment a record belongs to: when its request arrived, or what its schema's time column says."""

    ARRIVAL = "arrival"
    EVENT = "event"


class Unit(StrEnum):
    """What counts as one in a trial: a record, or a period's mean where records of a period are alike (one storm)."""

    RECORD = "record"
    PERIOD = "period"


ADay = Rule("at most 86400, which are a day", lambda seconds: seconds <= 86_400)
WebUrl = Rule("an http:// or https:// URL", lambda url: url.startswith(("http://", "https://")))
Period = Rule(
    "1, 2, 3, 4, 6, 8, 12 or whole days of 24 hours",
    lambda hours: hours > 0 and (24 % hours == 0 or hours % 24 == 0),
)


@dataclass(kw_only=True, slots=True)
class TimeSettings:
    clock: Clock
    """event: requests may come up to a month before the moment that they are about."""
    period_hours: Annotated[int, Period, Hours]
    """What is looked at as one: an hour, or a day where rows of an hour are alike (one storm, one flight board)."""
    grace_hours: Annotated[float, NotNegative, Hours]
    """A period is over when so much later rows have come: what is under way to the tables belongs in."""
    label_wait_hours: Annotated[float, NotNegative, Hours]
    """Labels of a period are weighed when it is so old, all at once: what comes later is not weighed any more."""
    look_seconds: Annotated[float, Positive, ADay]
    """Between two looks at the ledger."""


@dataclass(kw_only=True, slots=True)
class TrialSettings:
    """How a challenger is compared with the champion. Guarantees hold for each challenger, at any time one looks.

    Numbers of records are of labelled ones, over all stages, but for those of a single stage."""

    alpha: Annotated[float, Share]
    """P(ever promoting one that is no better), and P(ever dropping or taking back as harmful one that is within its
    margins), are at most this. The second is shared out to all stages, half to the loss, half to the guards: broken
    answers, slow ones, slices."""
    unit: Unit
    reach: Annotated[float, Share]
    """unit=period, in shadow and on probation: a period's mean difference counts as no more than this. alpha is then
    about means that are cut so, and what they show must be what the plain mean says as well. A smaller one brings
    evidence sooner; a canary's is its weights'."""
    looks: Annotated[int, AtLeastOne] | None
    """null: evidence by betting, at which one may look at any time. A number: a group-sequential test with so many
    looks, evenly spread over `maximum` records in shadow; sooner where the horizon is known, and silent between."""
    spending: Spending
    """How the looks spend alpha: little at first (obrien_fleming) or about evenly (pocock)."""
    superiority: bool
    """false: no worse by more than the margin is enough (a cheaper model, say)."""
    margin: Annotated[float, ShareOrEnd]
    """A mean difference within which models count as equal; a loss lies in [0, 1]."""
    gain: Annotated[float, Share] | None
    """Give up early on challengers that show no such improvement; null: never."""
    minimum: Annotated[int, NotNegative]
    maximum: Annotated[int, AtLeastOne] | None
    """Records after which an undecided trial ends as inconclusive."""
    shadow: bool
    canary: list[Annotated[float, Share]]
    """Shares of the traffic, one stage after the other."""
    stage_minimum: Annotated[int, AtLeastOne]
    """Records that a canary stage must have seen before the next."""
    client_share: Annotated[float, Share] | None
    """A client is the name of an API key. One that has at most this share of a trial's records cannot decide it: what
    is shown must be shown without its records, too. null: all clients are trusted."""
    slices: list[str]
    """No value of these columns may be harmed beyond `slice_margin`."""
    slice_margin: Annotated[float, ShareOrEnd]
    slow_ms: Annotated[float, Positive]
    slow_share: Annotated[float, Share]
    """No more than this share of its answers that users waited for may come later than `slow_ms`."""
    broken_share: Annotated[float, Share]
    """No more than this share of its answers may be without a finite number."""
    probation: Annotated[int, NotNegative]
    """Records for which the replaced champion answers on in shadow, to be taken back if it is better."""

    def conflicts(self) -> Iterator[Conflict]:
        if not self.shadow and not self.canary:
            yield Conflict("canary", self.canary, "needs a stage, or shadow must be true")
        if self.canary != sorted(set(self.canary)):
            yield Conflict("canary", self.canary, "must grow from stage to stage")
        if not self.superiority and self.margin == 0:
            yield Conflict("margin", self.margin, "must be greater than 0 where superiority is false")
        sizes = {"margin": self.margin, "gain": self.gain, "slice_margin": self.slice_margin if self.slices else None}
        for name, size in sizes.items():
            if self.unit is Unit.PERIOD and size is not None and size >= self.reach:
                yield Conflict(name, size, f"must be below reach = {self.reach:g} where unit is period")
        if self.looks is not None and self.maximum is not None and self.looks > self.maximum:
            yield Conflict("looks", self.looks, f"must not be above maximum = {self.maximum}")
        if self.looks is not None and (self.maximum is None or self.canary or self.unit is not Unit.RECORD):
            need = "needs shadow alone (canary: []), a maximum, which is the horizon, and unit: record"
            yield Conflict("looks", self.looks, need)
        if self.maximum is not None and self.maximum < self.minimum:
            yield Conflict("maximum", self.maximum, f"must not be below minimum = {self.minimum}")

    @property
    def stages(self) -> int:
        return self.shadow + len(self.canary) + (self.probation > 0)

    @property
    def guards(self) -> dict[str, float]:
        """The alpha of each guard in a stage; all guards together have half of the stage's, its mean loss the rest."""
        names = ["broken", "slow", *(["slices"] if self.slices else [])]
        return {name: self.alpha / self.stages / 2 / len(names) for name in names}


@dataclass(kw_only=True, slots=True)
class TriggerSettings:
    """What begins a retraining. Drift alone never does: it explains."""

    every_days: Annotated[float, Positive, Days] | None
    on_harm: bool
    """When a check of severity harm raises an alarm about losses."""
    cooldown_days: Annotated[float, NotNegative, Days]
    backoff_days: Annotated[float, Positive, Days]
    """At least so long from a retraining that failed, or that the gate refused, to the next; twice as long after two in
    a row, and so on, up to 32 times."""
    budget: Annotated[int, NotNegative]
    """Retrainings within 30 days, failed ones too."""


@dataclass(kw_only=True, slots=True)
class LabelSettings:
    least_coverage: Annotated[float, ShareOrEnd]
    """An alarm is raised where a smaller share of a period's answers has a label when it is weighed."""
    most_contradicted: Annotated[float, ShareOrEnd] | None
    """Where labels of different content came for a larger share of the labelled answers, of a period or a trial, an
    alarm is raised and neither a trial nor a retraining is decided by them. null: the last label holds, whatever came
    before."""


@dataclass(kw_only=True, slots=True)
class NotifySettings:
    webhook: Annotated[str, WebUrl] | None
    """Gets every decision and every new alarm of severity harm as JSON, by POST."""


@dataclass(kw_only=True, slots=True)
class Policy:
    mode: Authority
    time: TimeSettings
    losses: losses.Settings
    labels: LabelSettings
    watches: dict[str, dict[str, Any]]
    """The settings of each watch by its name; one that is null is left out."""
    trial: TrialSettings
    triggers: TriggerSettings
    retrain: RetrainSettings
    notify: NotifySettings

    @property
    def period(self) -> timedelta:
        return timedelta(hours=self.time.period_hours)


def read(file: Path | None) -> Policy:
    """The policy in a YAML file, over the defaults; None: the defaults.

    Raises:
        SettingsError: the file cannot be read, or a value breaks its rule; names the key.
    """
    defaults = _parsed((files("tidemill.steward") / "policy.yaml").read_text(encoding="utf-8"), "the defaults")
    if file is None:
        return build(Policy, defaults, shown=SHOWN)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(str(file), error) from error
    return build(Policy, over(defaults, _parsed(text, str(file))), shown=SHOWN)


def _parsed(text: str, source: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise _unreadable(source, error) from error
    if not isinstance(content, dict):
        raise _unreadable(source, ValueError(f"a mapping was expected, not {type(content).__name__}"))
    return content


def _unreadable(source: str, error: Exception) -> SettingsError:
    return SettingsError(
        "A policy is a YAML file that can be read",
        observed=f"{source}: {error}",
        remedy=SHOWN,
    )


def over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings are joined, other values replaced; a watch that is null is left out."""
    joined = dict(below)
    for key, value in above.items():
        here = joined.get(key)
        joined[key] = over(here, value) if isinstance(here, Mapping) and isinstance(value, Mapping) else value
    if isinstance(joined.get("watches"), Mapping):
        joined["watches"] = {name: settings for name, settings in joined["watches"].items() if settings is not None}
    return joined
