"""Whether a retraining can come to anything yet: whether enough labelled records are old enough for its gate."""

from dataclasses import dataclass
from datetime import timedelta

from tidemill.bundle.registry.registry import Alias, Registry
from tidemill.errors import QualityError
from tidemill.ledger.settings import LedgerSettings
from tidemill.steward.evidence import power
from tidemill.steward.retraining.aging import Horizon, old
from tidemill.steward.retraining.command import RetrainSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Readiness:
    """needed, present: labelled records that are old enough; needed is None where nothing says how many that is.

    why: it is not worth its while yet, and when it may be, at the pace of the records that are there; "": it is.
    """

    needed: int | None = None
    present: int | None = None
    why: str = ""


def look(
    settings: RetrainSettings, ledger: LedgerSettings, registry: Registry, model: str, horizon: Horizon, gain: float
) -> Readiness:
    """What there is, and what the gate of a retraining would need.

    Args:
        gain: by which the new version's loss is expected to be lower.

    Raises:
        RegistryError, LedgerError: something could not be reached.
    """
    champion = registry.describe(model, Alias.CHAMPION)
    try:
        found = old(ledger, model, champion.schema, horizon, settings.mature_share)
    except QualityError as error:
        return Readiness(why=f"{error.rule}: {error.observed}. What to do: {error.remedy}")
    need = power.needed(champion, settings.command, gain)
    if need is None or found.labelled >= need.records:
        return Readiness(needed=need.records if need else None, present=found.labelled)
    when = ""
    if found.first is not None and found.labelled and found.before > found.first:
        pace = (found.before - found.first) / found.labelled
        expected = horizon.until + _bounded(pace, need.records - found.labelled)
        when = f"; at this pace there are enough about {expected:%Y-%m-%d}"
    why = f"{need}. {found.labelled:,} labelled records are old enough, of {need.records:,}{when}"
    return Readiness(needed=need.records, present=found.labelled, why=why)


def _bounded(pace: timedelta, records: int) -> timedelta:
    """Dates end in 9999."""
    return min(pace * min(records, 10**9), timedelta(days=36_500)) if pace < timedelta(days=365) else timedelta(36_500)
