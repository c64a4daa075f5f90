"""Tables from a database by query: SQLite and PostgreSQL, through ADBC, so rows arrive as Arrow batches."""

import contextlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import polars as pl

from tidemill.composition import build
from tidemill.errors import SourceError, listed
from tidemill.extras import install
from tidemill.settings import DataSettings

EXAMPLES = "sqlite:///file.db or postgresql://user@host/database"


@dataclass(kw_only=True)
class Options:
    """None: `data.connection` and `data.query` say it all."""


def read(settings: DataSettings) -> pl.LazyFrame:
    """The rows that `data.query` selects over `data.connection`; `data.limit` is left to the database.

    PostgreSQL's numeric arrives as text, which inference reads as numbers.

    Raises:
        SourceError: a setting or the driver is missing, the database cannot be reached or refuses the query.
    """
    build(Options, settings.options, "data.options")
    connection, query = settings.connection, settings.query
    if not connection or not query or not query.strip():
        missing = "data.connection" if not connection else "data.query"
        raise SourceError(
            "data.source=sql needs data.connection and data.query",
            observed=f"{missing} is not set",
            remedy=f'set data.connection to {EXAMPLES}, and data.query="SELECT … FROM …"',
        )
    query = query.strip().rstrip(";")
    if settings.limit is not None:
        query = f"SELECT * FROM (\n{query}\n) AS limited LIMIT {settings.limit}"
    try:
        with _connected(connection) as database, database.cursor() as cursor:
            if connection.startswith("sqlite"):
                _infer_over_all_rows(cursor, query)
            cursor.execute(query)
            table = _table(cursor)
    except Exception as error:
        if not type(error).__module__.startswith("adbc_driver_manager"):
            raise
        raise _refused(connection, error) from None  # the driver's own text may hold the password
    return table.lazy()


def _connected(connection: str) -> Any:
    kind = connection.split(":", 1)[0]
    try:
        if kind == "sqlite":
            import adbc_driver_sqlite.dbapi as sqlite

            return contextlib.closing(sqlite.connect(f"file:{_sqlite_file(connection)}?mode=ro"))
        if kind in ("postgresql", "postgres"):
            import adbc_driver_postgresql.dbapi as postgresql

            return contextlib.closing(postgresql.connect(connection))
    except ModuleNotFoundError as error:
        raise SourceError(
            "Reading from a database needs its ADBC driver and pyarrow",
            observed=f"{error.name} is not installed",
            remedy=install("sql"),
        ) from error
    raise SourceError(
        "data.connection must be an SQLite or PostgreSQL URL",
        observed=_masked(connection, connection),
        remedy=f"write {EXAMPLES}",
    )


def _sqlite_file(connection: str) -> str:
    from tidemill.data.sources.files import existing_file

    if not connection.startswith("sqlite:///"):
        raise SourceError(
            "An SQLite URL has three slashes before the file's path, and four if it is absolute",
            observed=connection,
            remedy="write sqlite:///file.db or sqlite:////folder/file.db",
        )
    return existing_file(connection.removeprefix("sqlite:///"), "data.connection")


def _infer_over_all_rows(cursor: Any, query: str) -> None:
    """SQLite types values, not columns; the driver settles a column's type on its first batch and fails on others."""
    cursor.execute(f"SELECT COUNT(*) FROM (\n{query}\n)")
    rows = cursor.fetchone()[0]
    cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": max(rows, 1)})


def _table(cursor: Any) -> pl.DataFrame:
    reader = cursor.fetch_record_batch()
    names = reader.schema.names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceError(
            "Columns must have different names",
            observed=f"the query yields {listed(twice, quoted=True)} more than once",
            remedy="name them apart with AS",
        )
    import pyarrow

    empty = pyarrow.RecordBatch.from_pylist([], schema=reader.schema)
    return pl.concat([_frame(empty), *(_frame(batch) for batch in reader)])


def _frame(batch: Any) -> pl.DataFrame:
    """The batch as Polars knows it: types of the database's own, like numeric, become what they are stored as."""
    stored = [getattr(column, "storage", column) for column in batch.columns]
    return pl.DataFrame([pl.Series(name, column) for name, column in zip(batch.schema.names, stored, strict=True)])


def _refused(connection: str, error: Exception) -> SourceError:
    said = _masked(str(error).strip(), connection)
    return SourceError(
        "The database must accept the connection and the query",
        observed=f"{said} (at {_masked(connection, connection)})",
        remedy="correct data.connection or data.query; a password may stand in the variable PGPASSWORD",
    )


def _masked(text: str, connection: str) -> str:
    """`text` without the connection's password, however it is written."""
    secrets: set[str] = set()
    with contextlib.suppress(ValueError):
        parts = urlsplit(connection)
        secrets = {parts.password or "", *parse_qs(parts.query).get("password", [])}
    if "@" in connection:
        secrets.add(connection.split("://", 1)[-1].rsplit("@", 1)[0].partition(":")[2])
    for secret in sorted({*secrets, *map(unquote, secrets)} - {""}, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text
