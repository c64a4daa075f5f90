"""What can be set, and the rule for each setting: types, allowed values, ranges.

The *values* stand in `conf/`, one YAML file a choice, composed by Hydra; the *rules* stand here.
`tidemill.composition.build` turns the composed mapping into `Settings` in one pass, before any data
is read, and reports every broken rule with its full key. No class below has a default: a key that
`conf/` does not set is an error, so there is one place to look a value up.

A model's own settings (`model.width`, …) stand beside the model, in `tidemill/models/<name>.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from tidemill.composition import Rule, build, choices, component, keys

Positive = Rule("greater than 0", lambda value: value > 0)
NotNegative = Rule("0 or greater", lambda value: value >= 0)
Share = Rule("between 0 and 1, both excluded", lambda value: 0 < value < 1)
ShareOrEnd = Rule("between 0 and 1, both included", lambda value: 0 <= value <= 1)
ShareOrNone = Rule("0 or greater and below 1", lambda value: 0 <= value < 1)
AtLeastOne = Rule("1 or greater", lambda value: value >= 1)
PlainName = Rule(
    "letters, digits, '-', '_' and '.', not starting with '.'",
    lambda value: value.strip(".") != "" and value[0] != "." and all(c.isalnum() or c in "-_." for c in value),
)


class Objective(StrEnum):
    """What the model answers; `auto` decides by the target column's kind and classes."""

    AUTO = "auto"
    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


class Kind(StrEnum):
    """What a column's values are. (`text` and `image` join here.)"""

    NUMERIC = "numeric"
    CATEGORICAL = "categorical"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"


class SplitMethod(StrEnum):
    RANDOM = "random"
    STRATIFIED = "stratified"
    GROUPED = "grouped"
    TIME = "time"


class Accelerator(StrEnum):
    AUTO = "auto"
    CPU = "cpu"
    GPU = "gpu"


class Precision(StrEnum):
    """`auto` is 32-bit on a CPU and bfloat16 mixed on a GPU that has it."""

    AUTO = "auto"
    FULL = "32-true"
    BF16 = "bf16-mixed"
    FP16 = "16-mixed"


class ClassWeights(StrEnum):
    NONE = "none"
    BALANCED = "balanced"


class WandbMode(StrEnum):
    """`auto` is online with an API key and offline without one."""

    AUTO = "auto"
    ONLINE = "online"
    OFFLINE = "offline"
    DISABLED = "disabled"


class Imputation(StrEnum):
    MEDIAN = "median"
    MEAN = "mean"
    CONSTANT = "constant"


class Scaling(StrEnum):
    NONE = "none"
    STANDARD = "standard"
    QUANTILE = "quantile"


class CalendarPart(StrEnum):
    """Parts of a timestamp in UTC. Weekday 0 is Monday."""

    MINUTE_OF_DAY = "minute_of_day"
    HOUR = "hour"
    WEEKDAY = "weekday"
    DAY_OF_MONTH = "day_of_month"
    DAY_OF_YEAR = "day_of_year"
    MONTH = "month"
    YEAR = "year"


class FeatureOperation(StrEnum):
    """Derived features: a cross joins two categorical columns, the others are numeric."""

    CROSS = "cross"
    RATIO = "ratio"
    DIFFERENCE = "difference"
    LOOKUP = "lookup"


@dataclass(kw_only=True, slots=True)
class SplitSettings:
    """Test is cut off first, then validation from what is left.

    random, stratified: scikit-learn's `train_test_split` on row numbers, `random_state=seed` for the
    test split and `seed + 1` for validation, so published splits can be named by their seeds.
    """

    method: SplitMethod
    validation: Annotated[float, Share]
    """Share of the rows left after the test split."""
    test: Annotated[float, Share]
    """Share of all rows. Not used when `data.test_path` names the test split."""
    seed: Annotated[int, NotNegative]
    validation_from: str | None
    """method=time: first instant of validation, ISO 8601; null cuts by share instead."""
    test_from: str | None
    """method=time: first instant of the test split, ISO 8601."""


@dataclass(kw_only=True, slots=True)
class QualitySettings:
    max_missing: Annotated[float, ShareOrEnd]
    """A feature with a larger share of missing values on the training split gives a warning."""
    leak_threshold: Annotated[float, Rule("between 0.5 and 1", lambda value: 0.5 <= value <= 1)]
    """A single column that predicts the target this well (AUROC, or absolute rank correlation) stops the run."""
    allow_leaks: list[str]
    """Columns that the leak test names and that you know to be honest."""
    allow_personal: list[str]
    """Columns that look like personal data and that you mean to use."""
    max_quarantined: Annotated[float, ShareOrEnd]
    """Stop when a larger share of the rows breaks a rule."""
    ranges: dict[str, list[Any]]
    """Column: [smallest, largest] allowed (null: open). Rows outside are quarantined."""
    domains: dict[str, list[Any]]
    """Column: allowed values. Rows with others are quarantined."""


@dataclass(kw_only=True, slots=True)
class DataSettings:
    source: str
    """`files`, `sql`, `flights`, or a module of your own with `read(settings) -> polars.LazyFrame`."""
    path: str | None
    """A file, a folder, a glob or a URL (s3://, …): CSV, Parquet, Arrow, JSON Lines or Delta."""
    test_path: str | None
    """A separate table for the test split, where one is published; otherwise null."""
    format: str
    """`auto` goes by the file's ending; or csv, parquet, arrow, jsonl, delta."""
    connection: str | None
    """source=sql: `sqlite:///file.db` or `postgresql://user@host/database`."""
    query: str | None
    """source=sql: the SELECT that yields the table."""
    options: dict[str, Any]
    """What one source alone understands."""
    limit: Annotated[int, AtLeastOne] | None
    """Read this many rows only: to try a run out."""
    schema: str | None
    """A pinned schema YAML; null infers one and writes it into the run's folder."""
    target: str | None
    objective: Objective
    positive: str | None
    """binary: the class whose probability is meant; null takes the last in sorted order."""
    key: str | None
    """The column that names a record; never a feature."""
    time: str | None
    """The moment a prediction is made. Later timestamps in features are errors."""
    time_is_input: bool
    """Whether the model may use `data.time` (its calendar parts) as a feature."""
    group: str | None
    """Rows of one group never fall into two splits (method=grouped)."""
    weight: str | None
    sensitive: list[str]
    """Not features; results are reported by their values."""
    ignored: list[str]
    kinds: dict[str, Kind]
    """Column: kind, where inference should not decide."""
    split: SplitSettings
    quality: QualitySettings


@dataclass(kw_only=True, slots=True)
class NumericSettings:
    missing: Imputation
    missing_value: float
    """Used when missing=constant."""
    missing_indicator: bool
    """Add a 0/1 feature for each column that has missing values in the training split."""
    scaling: Scaling
    quantiles: Annotated[int, Rule("between 2 and 10,000", lambda value: 2 <= value <= 10_000)]
    """scaling=quantile: landmarks of the transform to a normal distribution."""
    clip: Annotated[float, Positive] | None
    """After scaling, clip to ± this many units; null does not clip."""
    log: list[str]
    """Columns replaced by sign(x)·log(1 + |x|) first."""


@dataclass(kw_only=True, slots=True)
class CategoricalSettings:
    min_count: Annotated[int, AtLeastOne]
    """Categories seen less often in the training split share one 'rare' code."""
    max_categories: Annotated[int, AtLeastOne]
    """The most frequent are kept, the others are rare."""


@dataclass(kw_only=True, slots=True)
class TimestampSettings:
    parts: list[CalendarPart]
    cyclic: bool
    """Add sine and cosine of every part that has a period."""
    elapsed: bool
    """Add days since the earliest training timestamp: lets a model extrapolate in time, for better or worse."""


@dataclass(kw_only=True, slots=True)
class FeatureSettings:
    """A derived feature. `columns` are raw columns: two of them, or one for a lookup."""

    name: str
    operation: FeatureOperation
    columns: list[str]
    table: dict[str, float]
    """operation=lookup: category → number."""
    default: float
    """operation=lookup: for categories that the table lacks; ratio: for a zero denominator."""


@dataclass(kw_only=True, slots=True)
class ColumnPreparation:
    """What differs for one column; null takes the general setting."""

    missing: Imputation | None
    missing_value: float | None
    scaling: Scaling | None
    clip: Annotated[float, Positive] | None
    log: bool | None
    min_count: Annotated[int, AtLeastOne] | None
    max_categories: Annotated[int, AtLeastOne] | None


@dataclass(kw_only=True, slots=True)
class PreparationSettings:
    numeric: NumericSettings
    categorical: CategoricalSettings
    timestamp: TimestampSettings
    features: list[FeatureSettings]
    columns: dict[str, ColumnPreparation]


@dataclass(kw_only=True, slots=True)
class ModelSettings:
    """`name` finds the module; the other keys are checked against that module's own `Settings`."""

    name: str
    parameters: Any
    """An instance of `tidemill.models.<name>.Settings`."""


@dataclass(kw_only=True, slots=True)
class TrainingSettings:
    max_epochs: Annotated[int, AtLeastOne]
    batch_size: Annotated[int, AtLeastOne] | None
    """Rows per optimiser step over all devices together; null takes 64 to 1,024 by the size of the training split."""
    learning_rate: Annotated[float, Positive]
    weight_decay: Annotated[float, NotNegative]
    warmup_epochs: Annotated[float, NotNegative]
    """The learning rate rises linearly over this many epochs …"""
    cosine: bool
    """… and then falls along a cosine to zero at max_epochs; false keeps it constant."""
    gradient_clip: Annotated[float, Positive] | None
    """Largest norm of the gradient; null does not clip."""
    patience: Annotated[int, AtLeastOne]
    """Stop after this many epochs without a better validation loss."""
    class_weights: ClassWeights
    accelerator: Accelerator
    devices: Annotated[int, AtLeastOne]
    precision: Precision
    compile: bool
    """Compile the model with torch.compile."""
    threads: Annotated[int, AtLeastOne] | None
    """CPU threads for torch; null leaves torch's choice."""
    progress: bool
    resume: str | None
    """A run's folder (or its checkpoint): go on where that run stopped."""


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
    baselines: list[str]
    """Of trivial, linear, boosting. trivial always runs: the gate needs it."""
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
        SettingsError: every broken rule, by full key.
    """
    model = dict(config.get("model") or {})
    name = str(model.pop("name", ""))
    module = component("tidemill.models", name, having="build", key="model.name")
    parameters = build(module.Settings, model, "model")
    return build(Settings, {**config, "model": {"name": name, "parameters": parameters}})


def known_keys() -> list[str]:
    """Every full key that a run's settings may have, those of all models included."""
    found = [key for key in keys(Settings) if key != "model.parameters"]
    for name in choices("tidemill.models", "build"):
        module = component("tidemill.models", name, having="build", key="model.name")
        found += keys(module.Settings, "model.")
    return found
