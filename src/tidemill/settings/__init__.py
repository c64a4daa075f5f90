"""What can be set, and the rule for each setting: types, allowed values, ranges.

The *values* stand in `conf/`, one YAML file a choice, composed by Hydra; the *rules* stand here.
`tidemill.composition.build` turns the composed mapping into `Settings` in one pass, before any data
is read, and reports every broken rule with its full key. No class here has a default: a key that
`conf/` does not set is an error, so there is one place to look a value up.

A model's own settings (`model.width`, …) stand beside the model, in `tidemill/models/<name>.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass, replace
from typing import Annotated, Any

from tidemill.composition import build, choices, component, keys, nearest_key
from tidemill.settings import overrides
from tidemill.settings.data import (
    AbsentClasses as AbsentClasses,
    DataSettings as DataSettings,
    Duplicates as Duplicates,
    Kind as Kind,
    Objective as Objective,
    QualitySettings as QualitySettings,
    SplitMethod as SplitMethod,
    SplitSettings as SplitSettings,
)
from tidemill.settings.preparation import (
    CalendarPart as CalendarPart,
    CategoricalSettings as CategoricalSettings,
    ColumnPreparation as ColumnPreparation,
    FeatureOperation as FeatureOperation,
    FeatureSettings as FeatureSettings,
    Imputation as Imputation,
    NumericSettings as NumericSettings,
    PreparationSettings as PreparationSettings,
    Scaling as Scaling,
    TimestampSettings as TimestampSettings,
)
from tidemill.settings.release import (
    BaselineName as BaselineName,
    EvaluationSettings as EvaluationSettings,
    GateSettings as GateSettings,
    RegistrySettings,
    TrackingSettings as TrackingSettings,
    WandbMode as WandbMode,
)
from tidemill.settings.rules import (
    AtLeastOne as AtLeastOne,
    NotNegative as NotNegative,
    PlainName as PlainName,
    Positive as Positive,
    ShareOrNone as ShareOrNone,
)
from tidemill.settings.training import (
    Accelerator as Accelerator,
    ClassWeights as ClassWeights,
    ModelSettings,
    Precision as Precision,
    Profiler as Profiler,
    TrainingSettings as TrainingSettings,
)


@dataclass(kw_only=True, slots=True)
class Settings:
    """Everything one run depends on."""

    name: Annotated[str, PlainName]
    """The model's name in the registry."""
    seed: Annotated[int, NotNegative]
    data: DataSettings
    preparation: PreparationSettings
    model: ModelSettings
    training: TrainingSettings
    evaluation: EvaluationSettings
    gate: GateSettings
    registry: RegistrySettings
    tracking: TrackingSettings


def from_config(config: Mapping[str, Any]) -> Settings:
    """Check a composed configuration and make `Settings` of it, before anything is read.

    Args:
        config: plain nested mapping, as Hydra composes it from `conf/`.

    Raises:
        SettingsError: every broken rule, by full key; the model's own are looked at when all others are kept.
    """
    return with_model(without_model(config))


def without_model(config: Mapping[str, Any]) -> Settings:
    """All but the model's own settings, which stay as they were given: to check those, torch must be imported."""
    model = dict(config.get("model") or {})
    named = {"name": str(model.pop("name", "")), "parameters": model}
    settings = build(Settings, {**config, "model": named})
    options = _options(settings.data.source, settings.data.options)
    if options is not None:
        build(options, settings.data.options, "data.options")
    return settings


def _options(source: str, given: Mapping[str, Any]) -> type | None:
    """The dataclass `Options` of a source; where it reads a base of its own, that one's options are taken as well.

    None: a module of the user's that does not say which options it has.
    """
    module = component("tidemill.data.sources", source, having="read", key="data.source")
    own: type | None = getattr(module, "Options", None)
    base = given.get("base")
    if own is None or "base" not in own.__annotations__ or not isinstance(base, str) or base in ("", source):
        return own
    under = _options(base, {})
    return None if under is None else make_dataclass("Options", (), bases=(own, under), kw_only=True)


def with_model(settings: Settings) -> Settings:
    """Check what `without_model` has left."""
    module = component("tidemill.models", settings.model.name, having="build", key="model.name")
    parameters = build(module.Settings, settings.model.parameters, "model")
    return replace(settings, model=ModelSettings(name=settings.model.name, parameters=parameters))


def known_keys(like: str = "model") -> list[str]:
    """Every full key that a run's settings may have and that a person may have meant by `like`.

    Those of all models are among them only if its group is like `model`: to know them, torch must be imported.
    """
    found = [key for key in keys(Settings) if key != "model.parameters"]
    groups = {key.split(".")[0] for key in found}
    if nearest_key(like.split(".")[0], sorted(groups)) == "model":
        for name in choices("tidemill.models", "build"):
            module = component("tidemill.models", name, having="build", key="model.name")
            found += keys(module.Settings, "model.")
    return found


def addable(word: str) -> str:
    """A word of the command line as Hydra takes it; see `overrides.addable`."""
    return overrides.addable(word, Settings)
