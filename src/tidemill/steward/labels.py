"""Labels: how many answers have one, how long they take, and labels that come as files."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from tidemill.bundle.manifest import Identity
from tidemill.bundle.registry.registry import Registry
from tidemill.data.cells import values
from tidemill.data.reading import FAILURES, collect, without_panic_text
from tidemill.data.schema import Role as SchemaRole, Schema
from tidemill.data.sources import _delimited
from tidemill.errors import LedgerError, RequestError, SettingsError, SourceError, listed
from tidemill.ledger import columns
from tidemill.ledger.commits import Piece, Table
from tidemill.ledger.record import Label
from tidemill.ledger.settings import LedgerSettings
from tidemill.serve.wire import feedback
from tidemill.serve.wire.feedback import LabelRules
from tidemill.settings import Kind, Objective
from tidemill.steward.file_keys import FileKeys
from tidemill.steward.losses import make
from tidemill.steward.policy import LabelSettings, Policy
from tidemill.steward.records import Records, Span
from tidemill.steward.watch import Reading, Severity

_FIRST, _LAST = datetime(1, 1, 3, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
_COLUMNS = ("id", "key", "label", "value", "at")
CONTRADICTED = "contradicted labels"
"""The check that says how many answers have had labels of different content."""
_READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".parquet": lambda file: pl.read_parquet(file),
    ".csv": lambda file: collect(_delimited.scan(str(file), _delimited.Options())),
    ".jsonl": lambda file: pl.read_ndjson(file),
    ".ndjson": lambda file: pl.read_ndjson(file),
}
"""By a file's ending, as training reads it: CSV with any separator and encoding, every value as text."""
_FORM = (
    "columns id (as /predict gave it) or key (the record's, as /predict got it), label (a class) or value (a number), "
    "and perhaps at (when it came true)"
)


def has_label(identity: Identity) -> pl.Expr:
    """Whether a row has a label of the model's kind: a class, or a number. Another one tells nothing of its answer."""
    number = pl.col("true_value")
    regression = identity.objective is Objective.REGRESSION
    return (number.is_not_null() & ~number.is_nan()) if regression else pl.col("true_label").is_not_null()


@dataclass(kw_only=True, slots=True)
class Coverage:
    """What became of a period's answers: which share has a label, and how long labels took.

    A label's lag runs from the record's moment to when it came true (where the client said so), else from the request
    to the label's arrival.
    """

    rules: LabelSettings
    has_label: pl.Expr
    rows: int = 0
    labelled: int = 0
    contradicted: int = 0
    foreign: int = 0
    lags: list[pl.Series] = field(default_factory=list)

    def take(self, rows: pl.DataFrame) -> None:
        """Answers with what `tables.latest` says of their labels, null where no label came."""
        lag = pl.coalesce(pl.col("event_at") - pl.col("moment"), pl.col("labelled_at") - pl.col("at"))
        labelled = rows.filter(self.has_label)
        self.rows += rows.height
        self.labelled += labelled.height
        self.contradicted += int(rows["contradicted"].sum())
        self.foreign += int(rows["foreign"].sum())
        self.lags.append(labelled.select(lag.dt.total_seconds().cast(pl.Float32)).to_series())

    def readings(self) -> list[Reading]:
        """Plain rules, no evidence: 1 where one is broken."""
        share, most = self.contradicted / max(self.labelled, 1), self.rules.most_contradicted
        contradicted = Reading(
            check=CONTRADICTED,
            subject="",
            severity=Severity.ADVICE,
            says=f"{self.contradicted:,} of {self.labelled:,} labelled answers have had labels that differ.",
            remedy="find out who sends them: the ledger's labels have the client's name; the last one holds",
            log_e=float(most is not None and share > most),
            log_threshold=1.0,
            effect=share,
            unit="share of labelled answers",
        )
        return [self._covered(), contradicted]

    def _covered(self) -> Reading:
        share = self.labelled / self.rows if self.rows else 1.0
        says = f"{self.labelled:,} of {self.rows:,} answers have a label when they are weighed"
        lags = pl.concat(self.lags) if self.lags else pl.Series([], dtype=pl.Float32)
        if len(lags):
            half, most = (timedelta(seconds=round(float(lags.quantile(q) or 0))) for q in (0.5, 0.95))
            says += f"; half of these labels came within {half}, 95% within {most}"
        if self.foreign:
            says += f"; {self.foreign:,} labels for other clients' answers do not count"
        return Reading(
            check="labels",
            subject="",
            severity=Severity.ADVICE,
            says=f"{says}.",
            remedy="send labels to /feedback sooner, or give time.label_wait_hours as long as they take",
            log_e=float(share < self.rules.least_coverage),
            log_threshold=1.0,
            effect=share,
            unit="share of answers labelled",
        )


def take_files(
    files: Sequence[Path], ledger: LedgerSettings, model: str, identity: Identity, *, schema: Schema | None = None
) -> int:
    """Put labels into the ledger: those of all files or none, and a file's once, however often it is given.

    Args:
        files: Parquet, CSV or JSON Lines with the columns id, label or value, and perhaps at (ISO 8601 or a timestamp).
            In place of id there may be the record's key, in a column called `key` or as the model's own is.
        identity: of the model; labels are refused as `POST /feedback` refuses them.
        schema: the model's: its column of keys, if it has one; numbers and times may also be written as training's
            table has them.

    Returns:
        How many labels were added; none of files whose content was taken before.

    Raises:
        LedgerError: a file cannot be read, or a row of it is no label of an answer; nothing is taken.
    """
    key = schema.only(SchemaRole.KEY) if schema is not None else None
    keys = FileKeys(ledger, model, key.name if key else None)
    read = [_read(file, identity, schema, keys) for file in files]
    table = Table(ledger.table(model, "labels"), ledger.storage_options)
    found = {piece.writer: piece for piece in read if piece.rows.height}  # by content: one given twice counts once
    return table.add(list(found.values())) if found else 0


def metrics(
    registry: Registry, ledger: LedgerSettings, model: str, policy: Policy, *, by: str, every: str
) -> pl.DataFrame:
    """The policy's metric of each version over time, with its 95% interval.

    Args:
        by: event: a record counts where its moment lies, arrival: where its label came in.
        every: how long a bucket is, as Polars writes it (1h, 1d, 1mo).

    Returns:
        Columns from, version, role, labelled, the metric's name, lower, upper; of champions and canaries.

    Raises:
        SettingsError: `every` is no duration, or the policy's loss does not fit the model.
    """
    champion = registry.describe(model, "champion")
    try:
        pl.select(pl.lit(_FIRST).dt.truncate(every))
    except pl.exceptions.PolarsError as error:
        raise SettingsError(
            "A bucket of time is written like 1h, 1d, 1w or 1mo",
            observed=repr(every),
            remedy="give --every 1d",
        ) from error
    time = champion.schema.only(SchemaRole.TIME)
    records = Records(ledger, model, policy.time.clock, time.name if time else None)
    losses = make(policy.losses, champion.identity)
    moment = pl.col("moment" if by == "event" else "labelled_at").dt.truncate(every).alias("from")
    sums: list[pl.DataFrame] = []
    everything = Span(begin=_FIRST, end=_LAST, since=_FIRST)
    for piece in records.labelled(everything, _LAST):
        rows = piece.filter(has_label(champion.identity))
        frame = rows.select(moment, "version", "role", loss=pl.Series(losses.of(rows), dtype=pl.Float64))
        sums.append(_summed(frame.with_columns(squares=pl.col("loss") ** 2, labelled=pl.lit(1))))
        sums = [_summed(pl.concat(sums))]
    if not sums:
        return pl.DataFrame()
    mean = pl.col("loss") / pl.col("labelled")
    half = 1.96 * ((pl.col("squares") / pl.col("labelled") - mean**2).clip(0) / pl.col("labelled")).sqrt()
    scale = losses.unscaled(1.0) - losses.unscaled(0.0)
    shown = {losses.name: mean, "lower": mean - half, "upper": mean + half}
    return sums[0].select(
        "from",
        "version",
        "role",
        "labelled",
        *((losses.unscaled(0.0) + scale * value).alias(name) for name, value in shown.items()),
    )


def _summed(frame: pl.DataFrame) -> pl.DataFrame:
    key = ["from", "version", "role"]
    return frame.group_by(key).agg(pl.col("loss", "squares", "labelled").sum()).sort(key)


def _read(file: Path, identity: Identity, schema: Schema | None, keys: FileKeys) -> Piece:
    rules = LabelRules.of(identity, schema if schema is not None else Schema(columns=()))
    try:
        content = file.read_bytes()
        with without_panic_text():
            table = keys.named(_READERS[file.suffix.lower()](file))
            table = _as_in_training(values.cleaned(table.lazy()).collect(), schema)
    except SourceError as error:
        raise LedgerError(error.rule, observed=f"{file}: {error.observed}", remedy=f"give {_FORM}") from error
    except (*FAILURES, KeyError) as error:
        raise _unfit(f"{file}: {type(error).__name__} {error}") from error
    labels = _labels(table, file, rules)
    rows = columns.labelled(keys.kept(labels))
    keys.check(file, labels, rows)
    return Piece(f"file {hashlib.sha256(content).hexdigest()}", 1, rows)


def _as_in_training(table: pl.DataFrame, schema: Schema | None) -> pl.DataFrame:
    """Texts that are numbers or times in training's notation, as such; what is not stays for `feedback` to judge."""
    if schema is None:
        return table
    target, time = schema.only(SchemaRole.TARGET), schema.only(SchemaRole.TIME)
    readings = [(name, target) for name in ("label", "value") if target and target.kind is Kind.NUMERIC]
    readings += [("at", time)] if time and time.kind is Kind.TIMESTAMP else []
    for name, column in readings:
        if column is None or table.schema.get(name) != pl.String:
            continue
        given, read = values.read_series(table[name], replace(column, missing_marks=()))
        if read.null_count() == given.null_count():
            table = table.with_columns(read.alias(name))
    return table


def _labels(table: pl.DataFrame, file: Path, rules: LabelRules) -> list[Label]:
    if not {"id", "key"} & set(table.columns) or not {"label", "value"} & set(table.columns):
        raise _unfit(f"{file} with the columns {listed(table.columns)}")
    odd = [name for name in _COLUMNS if _odd(name, table.schema.get(name))]
    if odd:
        raise _unfit(f"{file} with {listed(f'{name} as {table.schema[name]}' for name in odd)}")
    received, found = time.time_ns(), []
    given = table.select(name for name in _COLUMNS if name in table.columns)
    for number, row in enumerate(given.iter_rows(named=True), 1):
        said = [row[name] for name in ("label", "value") if row.get(name) is not None]
        if len(said) != 1:
            raise _unfit(f"{file}, row {number}, without exactly one of label and value")
        at = row.get("at")
        by = "key" if row.get("id") is None and "key" in row else "id"
        moment = at if at is None or isinstance(at, str) else at.isoformat()
        entry = {by: row[by], "label": said[0], "at": moment}
        try:
            found.append(feedback.checked(entry, f"{file}, row {number}", rules, received))
        except RequestError as error:
            raise LedgerError(error.rule, observed=error.observed, remedy=error.remedy) from error
    return found


def _odd(name: str, dtype: pl.DataType | None) -> bool:
    """Whether a column's type can hold no ids, labels, values or moments."""
    if dtype is None or dtype == pl.Null():
        return False
    if name == "at":
        return not isinstance(dtype, pl.Datetime | pl.Date | pl.String)
    return dtype.is_nested() or dtype.is_temporal() or dtype == pl.Binary()


def _unfit(observed: str) -> LedgerError:
    return LedgerError(
        "A file of labels is Parquet, CSV or JSON Lines, each row a label", observed=observed, remedy=f"give {_FORM}"
    )
