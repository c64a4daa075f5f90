"""The group `data`: where the table is, what its columns are for, how it is checked and split."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from tidemill.composition import Conflict, Rule
from tidemill.moments import instant
from tidemill.settings.rules import AtLeastOne, Instant, NotNegative, Share, ShareOrEnd


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


def _is_range(ends: list[Any]) -> bool:
    numbers = all(end is None or (isinstance(end, int | float) and not isinstance(end, bool)) for end in ends)
    return len(ends) == 2 and numbers


Range = Rule("[smallest, largest], with null where it is open", _is_range)


class SplitMethod(StrEnum):
    RANDOM = "random"
    STRATIFIED = "stratified"
    GROUPED = "grouped"
    TIME = "time"


class AbsentClasses(StrEnum):
    """What happens when validation or test has no row of a class: nothing can be measured about that class."""

    STOP = "stop"
    ACCEPT = "accept"


class Duplicates(StrEnum):
    """What becomes of rows that repeat another one."""

    KEEP = "keep"
    DROP = "drop"
    GROUP = "group"


@dataclass(kw_only=True, slots=True)
class SplitSettings:
    """Test is cut off first, then validation from what is left.

    random, stratified: scikit-learn's `train_test_split` on row numbers, `random_state=seed` for the
    test split and `seed + 1` for validation, so published splits can be named by their seeds.
    """

    method: SplitMethod
    validation: Annotated[float, Share]
    """Share of the rows left after the test split. Not used when `data.validation_path` names the validation split."""
    test: Annotated[float, Share]
    """Share of all rows. Not used when `data.test_path` names the test split."""
    seed: Annotated[int, NotNegative]
    validation_from: Annotated[str, Instant] | None
    """method=time: first instant of validation; null cuts by share instead."""
    test_from: Annotated[str, Instant] | None
    """method=time: first instant of the test split; null cuts by share instead."""
    absent_classes: AbsentClasses
    """`accept` goes on without calibration and without figures by class, and the gate then refuses the version."""


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
    ranges: dict[str, Annotated[list[Any], Range]]
    """Numeric column: [smallest, largest] allowed (null: open). Rows outside are quarantined."""
    domains: dict[str, list[Any]]
    """Column: allowed values. Rows with others are quarantined."""
    duplicates: Duplicates
    """`drop` keeps the first of rows that are equal in all inputs and the target, before splitting. `group` keeps
    rows that are equal in all inputs in one split (method=random)."""
    max_repeated: Annotated[float, ShareOrEnd]
    """When a larger share of the test rows repeats training rows, the gate refuses the version."""


@dataclass(kw_only=True, slots=True)
class DataSettings:
    source: str
    """`files`, `sql`, `flights`, `production`, or a module of your own with `read(settings) -> polars.LazyFrame`."""
    path: str | None
    """A file, a folder, a glob or a URL (s3://, …): CSV, Parquet, Arrow, JSON Lines or Delta."""
    validation_path: str | None
    """A separate table for the validation split, where one is published; otherwise null."""
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
    label_time: str | None
    """When a record's label became known; never a feature. Needs `data.time`."""
    mature_share: Annotated[float, Share] | None
    """With `label_time`: records so young that this share of the labels of every class had not come by the table's end
    are left out; null: only records without a label are."""
    group: str | None
    """Rows of one group never fall into two splits (method=grouped)."""
    weight: str | None
    sensitive: list[str]
    """Not features; results are reported by their values."""
    ignored: list[str]
    kinds: dict[str, Kind]
    """Column: kind, where inference should not decide."""
    missing_marks: dict[str, list[str]]
    """Column: the texts that mean "no value" in it, instead of those that are found; [] for none. So may numbers, like
    ["-999"]."""
    formats: dict[str, str]
    """Column: how its values are written, where that should not be found: a strptime pattern (%d.%m.%Y), epoch_s,
    epoch_ms or epoch_us for timestamps; an example for numbers (1.234,5 or $1,234.5)."""
    moments: dict[str, dict[str, Any]]
    """New column: what its instants are made of. Parts (year, month, day, hour, minute, second; time; date) and offsets
    (plus_days, minus_hours, …) name columns, or are numbers that hold for all rows; format: how `date` is written."""
    split: SplitSettings
    quality: QualitySettings

    def conflicts(self) -> Iterator[Conflict]:
        """What `data.split` asks for must be there; a pinned schema may have it where the settings do not."""
        split = self.split
        needed = {SplitMethod.TIME: ("time", self.time), SplitMethod.GROUPED: ("group", self.group)}
        name, column = needed.get(split.method, ("", ""))
        if column is None and self.schema is None:
            yield Conflict(name, column, f"must name a column, for data.split.method={split.method}")
        if self.label_time is not None and self.time is None and self.schema is None:
            yield Conflict("label_time", self.label_time, "needs data.time, the moment of each record")
        begins, ends = split.validation_from, split.test_from
        if self.quality.duplicates is Duplicates.GROUP and split.method is not SplitMethod.RANDOM:
            yield Conflict("quality.duplicates", "group", f"needs data.split.method=random, not {split.method}")
        cut_off = split.method is SplitMethod.TIME and self.test_path is None and self.validation_path is None
        if cut_off and begins and ends and instant(begins) >= instant(ends):
            yield Conflict("split.validation_from", begins, f"must lie before data.split.test_from = {ends!r}")
