"""Reading a ledger's tables: answers, labels, and answers with the labels that came for them. All of it lazily.

A day's partition is read only where `since` and `until` touch it.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import polars as pl

from tidemill.errors import LedgerError
from tidemill.ledger import masking
from tidemill.ledger.columns import ANSWERS, LABELS
from tidemill.ledger.commits import Table
from tidemill.ledger.settings import NOTE, LedgerSettings, Masking, Note
from tidemill.moments import aware

SKEW = timedelta(days=1)
"""By how much a label may seem older than its answer, as clocks differ."""
_CLOCKS = timedelta(minutes=5)
"""The same for labels by key, which come for some answers and not for others of the same key."""
_LATEST = 20
"""Commits that are looked at for what is masked: those of upkeep, which say nothing about it, are fewer in a row."""


def answers(
    settings: LedgerSettings, model: str, since: datetime | None = None, until: datetime | None = None
) -> pl.LazyFrame:
    """Answers by the arrival of their requests: `since` ≤ at < `until` (without an offset: UTC). Columns: `columns.py`.

    A shadow's rows have the same ids as the champion's, and null `inputs`. Empty while nothing was shipped.
    """
    return _between(scan(settings, model, "answers", ANSWERS), since, until)


def labels(
    settings: LedgerSettings, model: str, since: datetime | None = None, until: datetime | None = None
) -> pl.LazyFrame:
    """Labels as they were received, repeated and corrected ones too: `since` ≤ at < `until`.

    There is no column `key` before the first label came by one.
    """
    return _between(scan(settings, model, "labels", LABELS), since, until)


def joined(
    settings: LedgerSettings, model: str, since: datetime | None = None, until: datetime | None = None
) -> pl.LazyFrame:
    """Answers with the label received last for each, as the columns of `latest`: null where no label has come.

    `since`, `until`: of the answers.
    """
    given = answers(settings, model, since, until)
    received = labels(settings, model, aware(since) - SKEW if since else None)
    return given.join(latest(matched(received, given)), on="id", how="left")


def unknown(
    settings: LedgerSettings, model: str, since: datetime | None = None, until: datetime | None = None
) -> pl.LazyFrame:
    """The latest label for each id, or key, that no answer has. `since`, `until`: of the labels.

    An answer that another replica gave a moment ago may not have been shipped yet.
    """
    received = labels(settings, model, since, until).with_columns(foreign=pl.lit(False))
    known = answers(settings, model, until=aware(until) + SKEW if until else None)
    if "key" not in received.collect_schema():
        received = received.with_columns(key=pl.lit(None, pl.String()))
    lost = [
        latest(received.filter(pl.col(name).is_not_null()), name).join(known.select(name), on=name, how="anti")
        for name in ("id", "key")
    ]
    return pl.concat(lost, how="diagonal").drop("contradicted", "foreign")


def matched(received: pl.LazyFrame, given: pl.LazyFrame) -> pl.LazyFrame:
    """Labels with the ids of the answers that they hold for; those of no answer among `given` may be left out.

    A label by key holds for every answer that was given to its key before the label was received: a key names one
    record, which has one truth however often it was asked about. An answer that is given later waits for another
    label. `latest` chooses among the labels of an answer, whichever way they came.

    A label that holds for one client's answers is `foreign` to those of others, which are returned to be counted.

    Args:
        given: answers, with `id`, `key`, `at` and `client`. Further columns are no part of the result.
    """
    asked = given.select("id", "key", pl.col("at").alias("answered"), pl.col("client").alias("asker"))
    foreign = (pl.col("client") != pl.col("asker")).fill_null(pl.col("client").is_not_null()).alias("foreign")
    by_id = received.filter(pl.col("id").is_not_null()).join(asked.drop("key", "answered").unique(), on="id")
    if "key" not in received.collect_schema():
        return by_id.with_columns(foreign).drop("asker")
    by_key = received.filter(pl.col("key").is_not_null()).drop("id")
    found = by_key.join(asked, on="key").filter(pl.col("at") >= pl.col("answered") - _CLOCKS)
    return pl.concat([by_id, found], how="diagonal").with_columns(foreign).drop("key", "answered", "asker")


def latest(received: pl.LazyFrame, name: str = "id") -> pl.LazyFrame:
    """What the labels of each id come to, of those that are not foreign to its answer.

    Args:
        received: with `foreign`, as `matched` makes it.
        name: `key` for labels by key.

    Returns:
        true_label, true_value, labelled_at, event_at: of the label received last. contradicted: whether labels of
        different content have come. foreign: how many labels were left out as they are another client's.
    """
    order = ["at", "event_at", "label", "value"]  # all of them, so that the answer never depends on the files' order
    mine = ~pl.col("foreign")
    return (
        received.sort(order, nulls_last=False)
        .group_by(name)
        .agg(
            pl.col("label").filter(mine).last().alias("true_label"),
            pl.col("value").filter(mine).last().alias("true_value"),
            pl.col("at").filter(mine).last().alias("labelled_at"),
            pl.col("event_at").filter(mine).last(),
            ((pl.col("label").filter(mine).n_unique() > 1) | (pl.col("value").filter(mine).n_unique() > 1)).alias(
                "contradicted"
            ),
            pl.col("foreign").sum(),
        )
    )


def scan(settings: LedgerSettings, model: str, name: str, empty: dict[str, pl.DataType]) -> pl.LazyFrame:
    """All rows of one of a model's tables. `empty`: its columns, which are null where an earlier release wrote none.

    Raises:
        LedgerError: the table cannot be reached, or its log is altered.
    """
    table = _opened(settings, model, name)
    if table is None:
        return pl.LazyFrame(schema=empty)
    rows = pl.scan_delta(table, storage_options=dict(settings.storage_options) or None)
    there = rows.collect_schema().names()
    return rows.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in empty.items() if name not in there)


def masked(settings: LedgerSettings, model: str) -> dict[str, Masking] | None:
    """Which columns the answers that came last have masked or hashed by name, as their server's settings said.

    None where there is no telling: no answers yet, or none of this release.

    Raises:
        LedgerError: as for `scan`.
    """
    table = _opened(settings, model, "answers")
    if table is None:
        return None
    found = masking.read(table.history(1))
    return masking.read(table.history(_LATEST)) if found is None else found


def served(path: str, model: str) -> LedgerSettings:
    """Settings for whoever adds to a ledger by its path alone: what is masked is what its latest answers have masked.

    A server that writes from this machine has left its settings here, which also say where the key for digests is.

    Raises:
        LedgerError: as for `scan`.
    """
    settings = LedgerSettings.at(path)
    note = settings.segments(model) / NOTE
    if note.exists():
        here = msgspec.json.decode(note.read_bytes(), type=Note).settings
        settings = replace(settings, hash_key_file=here.hash_key_file)
        return replace(settings, columns=here.columns, sensitive=here.sensitive, ignored=here.ignored)
    table = _opened(settings, model, "answers")
    notes = table.history(_LATEST) if table is not None else []
    return masking.with_roles(replace(settings, columns=masking.read(notes) or {}), notes)


def _opened(settings: LedgerSettings, model: str, name: str) -> Any:
    """A `deltalake.DeltaTable`, or None where there is none yet."""
    from deltalake.exceptions import DeltaError

    uri = settings.table(model, name)
    try:
        return Table(uri, settings.storage_options).open()
    except (DeltaError, OSError) as error:
        raise LedgerError(
            "A ledger's tables can be read",
            observed=f"{uri}: {str(error).strip().partition(chr(10))[0]}",
            remedy="see whether the place can be reached; a log that was altered is restored from a backup",
        ) from error


def _between(table: pl.LazyFrame, since: datetime | None, until: datetime | None) -> pl.LazyFrame:
    if since is not None:
        first = aware(since).astimezone(UTC)
        table = table.filter(pl.col("day") >= first.date(), pl.col("at") >= first)
    if until is not None:
        last = aware(until).astimezone(UTC)
        table = table.filter(pl.col("day") <= last.date(), pl.col("at") < last)
    return table
