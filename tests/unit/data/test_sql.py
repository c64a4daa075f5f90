"""Tables by query from real databases."""

import sqlite3
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import quote

import polars as pl
import pytest
from postgres import PASSWORD, server
from table_settings import settings_for

from tidemill.data import infer, sources, typed
from tidemill.errors import SourceError
from tidemill.settings import Kind


def select(connection: str | None, query: str | None, **changes: object) -> pl.DataFrame:
    return sources.open(settings_for(source="sql", connection=connection, query=query, **changes)).collect()


def refusal(connection: str | None, query: str | None) -> str:
    with pytest.raises(SourceError) as caught:
        select(connection, query)
    assert caught.value.__cause__ is None or "ModuleNotFound" in repr(caught.value.__cause__)
    return str(caught.value)


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    with sqlite3.connect(tmp_path / "t.db") as database:
        database.execute(
            "create table t(a int, late real, flag boolean, moment timestamp, gaps numeric, mixed, hollow)"
        )
        rows = [
            (i, i if i < 2000 else i + 0.5, i % 2, "2013-01-01 05:00:00", None if i < 2000 else i, i, None)
            for i in range(2999)
        ]
        database.executemany("insert into t values(?,?,?,?,?,?,?)", [*rows, (2999, 0, 0, "", 1, "text", None)])
    database.close()
    return f"sqlite:///{tmp_path / 't.db'}"


def test_sqlite_columns_take_the_type_of_all_their_rows(sqlite: str) -> None:
    table = select(sqlite, "select * from t order by a;")
    assert table.height == 3000
    assert table["late"].to_list()[1999:2001] == [1999, 2000.5]
    assert table["gaps"].null_count() == 2000
    assert table["mixed"].to_list()[-2:] == ["2998", "text"]
    assert table["hollow"].null_count() == 3000


def test_the_limit_is_left_to_the_database(sqlite: str) -> None:
    assert select(sqlite, "select a from t order by a desc -- last", limit=2)["a"].to_list() == [2999, 2998]
    assert select(sqlite, "select a from t where a < 0").height == 0


def test_sqlite_is_opened_to_read_only(sqlite: str) -> None:
    assert "syntax error" in refusal(sqlite, "delete from t")
    assert select(sqlite, "select count(*) as n from t")["n"].to_list() == [3000]


def test_what_a_database_cannot_answer_is_said(sqlite: str, tmp_path: Path) -> None:
    assert "no such column: nope" in refusal(sqlite, "select nope from t")
    assert "'a' more than once" in refusal(sqlite, "select a, a from t")
    assert "did you mean" in refusal(sqlite.replace("t.db", "tt.db"), "select 1")
    assert "three slashes" in refusal("sqlite://t.db", "select 1")
    assert "data.connection is not set" in refusal(None, "select 1")
    assert "data.query is not set" in refusal(sqlite, " ")
    (tmp_path / "no.db").write_text("certainly not a database, though long enough to look at" * 20)
    assert "not a database" in refusal(f"sqlite:///{tmp_path / 'no.db'}", "select 1")


def test_drivers_are_named_where_they_lack(sqlite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adbc_driver_sqlite.dbapi", None)
    assert "pip install -c constraints.txt -e '.[sql]'" in refusal(sqlite, "select 1")


@pytest.mark.parametrize(
    "connection",
    [
        "mysql://u:hush-42@host/d",
        "postgresql://u:hush-42@127.0.0.1:1/d",
        "postgresql://u:hush%2D42@127.0.0.1:1/d",
        "postgresql://u@127.0.0.1:1/d?password=hush-42",
        "postgresql://u:hush-42@127.0.0.1:notaport/d",
        "postgresql://u:hush-42@[::1/d",
    ],
)
def test_passwords_are_in_no_error(connection: str) -> None:
    said = refusal(connection, "select 1")
    assert "hush-42" not in said
    assert "hush%2D42" not in said


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with server() as port:
        yield f"postgresql://tide:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/postgres"


QUERY = """
    select i as whole, (i % 99)::smallint as small, i::numeric(12, 2) / 4 as decimal, (i % 99)::float8 as real,
        i % 2 = 0 as flag,
        timestamptz '2013-06-30 14:05:00.25+02' + i * interval '1 hour' as moment, timestamp '2013-01-01' as naive,
        date '2013-01-01' + i as day, case when i % 3 > 0 then 'zü' || i % 5 end as words, null::int as nothing,
        null as unknown
    from generate_series(0, 4999) as i order by i
"""


def test_postgres_types_arrive_as_their_kinds(postgres: str) -> None:
    settings = settings_for(source="sql", connection=postgres, query=QUERY, key="whole")
    frame = sources.open(settings)
    schema = infer.infer(frame, settings)
    kinds = {column.name: column.kind for column in schema.inputs}
    assert kinds == {
        "small": Kind.NUMERIC,
        "decimal": Kind.NUMERIC,
        "real": Kind.NUMERIC,
        "flag": Kind.BOOLEAN,
        "moment": Kind.TIMESTAMP,
        "day": Kind.TIMESTAMP,
        "words": Kind.CATEGORICAL,
    }
    read = typed.apply(frame, schema)
    assert read.quarantined.is_empty()
    assert read.table.height == 5000
    first = read.table.row(1, named=True)
    assert first["decimal"] == 0.25
    assert first["flag"] is False
    assert first["moment"] == datetime(2013, 6, 30, 13, 5, 0, 250_000, UTC)
    assert first["day"].date() == date(2013, 1, 2)
    assert first["words"] == "zü1"
    assert schema["words"].missing_allowed
    assert schema["nothing"].reason == "empty: no row has a value"
    assert schema["unknown"].reason == "empty: no row has a value"


def test_postgres_refusals_hide_the_password(postgres: str) -> None:
    assert 'column "nope" does not exist' in refusal(postgres, "select nope")
    said = refusal(postgres.replace("%2F42", "%2F43"), "select 1")
    assert "password authentication failed" in said
    assert "wörd" not in said
    assert "w%C3%B6rd" not in said
    assert select(postgres, "select 1 as a", limit=1)["a"].to_list() == [1]
