"""The groups `evaluation`, `gate`, `registry` and `tracking`: what becomes of a trained model."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from tidemill.composition import Rule
from tidemill.settings.rules import AtLeastOne, NotNegative, PlainName, Share


class BaselineName(StrEnum):
    """Simple models to compare with; `tidemill.evaluation.baselines` says what each is."""

    TRIVIAL = "trivial"
    LINEAR = "linear"
    BOOSTING = "boosting"


class WandbMode(StrEnum):
    """`auto` is online with an API key and offline without one."""

    AUTO = "auto"
    ONLINE = "online"
    OFFLINE = "offline"
    DISABLED = "disabled"


@dataclass(kw_only=True, slots=True)
class EvaluationSettings:
    level: Annotated[float, Share]
    """Confidence level of every interval."""
    bootstrap: Annotated[int, Rule("0 (no intervals) or 50 and more", lambda value: value == 0 or value >= 50)]
    """Resamples for each interval."""
    calibrate: bool
    coverage: Annotated[float, Share]
    """regression: share of answers that the conformal interval shall cover."""
    slices: list[str]
    """Columns whose values cut the test split into slices; sensitive columns always do."""
    min_slice_rows: Annotated[int, AtLeastOne]
    baselines: list[BaselineName]
    """trivial always runs: the gate needs it."""
    importance_rows: Annotated[int, NotNegative]
    """Validation rows used for permutation importance; 0 leaves it out."""


@dataclass(kw_only=True, slots=True)
class GateSettings:
    margin: Annotated[float, NotNegative]
    """How much worse a later version's loss may be, as a share of the champion's, and still pass."""
    level: Annotated[float, Share]
    """One-sided confidence with which it must be within the margin."""


@dataclass(kw_only=True, slots=True)
class RegistrySettings:
    path: str
    """A folder, or any fsspec URL."""
    promote: bool
    """Let the gate make a passing bundle champion; false only registers it as candidate."""


@dataclass(kw_only=True, slots=True)
class TrackingSettings:
    wandb: WandbMode
    project: Annotated[str, PlainName]
    entity: str | None
    group: str | None
    tags: list[str]
    log_bundle: bool
    """Log the bundle as an artifact."""
