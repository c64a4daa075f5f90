import random
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from checked_tables import data_settings, tables

from tidemill.data.checks import personal
from tidemill.data.checks.findings import Finding, Severity
from tidemill.data.schema import Role
from tidemill.data.tables import Tables

N = 200
R = random.Random(0)


def digits(count: int) -> str:
    return "".join(R.choice("0123456789") for _ in range(count))


def card() -> str:
    body = "4" + digits(14)
    return next(body + check for check in "0123456789" if personal.luhn(body + check))


def account() -> str:
    body = digits(18)
    return next(f"DE{check:02d}{body}" for check in range(100) if personal.iban(f"DE{check:02d}{body}"))


def word() -> str:
    return "".join(R.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(7))


CARDS = [card() for _ in range(N)]
DATES = [date(1950, 1, 1) + timedelta(days=97 * i) for i in range(N)]


def findings(found: Tables) -> list[Finding]:
    return list(personal.check(found))


def one(name: str, values: object) -> Finding | None:
    table = pl.DataFrame({name: values})
    if table[name].dtype == pl.Int64:
        table = table.cast(pl.Float64)
    found = findings(tables(table))
    assert len(found) <= 1
    return found[0] if found else None


@pytest.mark.parametrize(
    "name, values, what",
    [
        ("contact", [f"{word()}.{word()}@{word()}.co.uk" for _ in range(N)], "e-mail"),
        ("x", [f"müller{i}@bücher.example" for i in range(N)], "e-mail"),
        (
            "notes",
            [f"please write to {word()}@{word()}.com today" if i % 50 == 0 else "ok" for i in range(N)],
            "e-mail",
        ),
        ("x", [f"({digits(3)}) {digits(3)}-{digits(4)}" for _ in range(N)], "phone"),
        ("x", [f"{digits(3)}.{digits(3)}.{digits(4)}" for _ in range(N)], "phone"),
        ("x", [f"+49 171 {digits(3)} {digits(4)}" for _ in range(N)], "phone"),
        ("x", [f"+1{digits(10)}" for _ in range(N)], "phone"),
        ("x", [f"07911 {digits(6)}" for _ in range(N)], "phone"),
        ("CustomerPhone1", [int("2" + digits(9)) for _ in range(N)], "phone"),
        ("x", CARDS, "card"),
        ("x", [" ".join(text[i : i + 4] for i in range(0, 16, 4)) for text in CARDS], "card"),
        ("x", [float(text[:15] if personal.luhn(text[:15]) else "378282246310005") for text in CARDS], "card"),
        ("x", [f"{R.randint(100, 665)}-{R.randint(10, 99)}-{R.randint(1000, 9999)}" for _ in range(N)], "national"),
        ("x", [f"AB {R.randint(10, 99)} {R.randint(10, 99)} {R.randint(10, 99)} C" for _ in range(N)], "national"),
        ("ssn", [R.randint(100_000_000, 899_999_999) for _ in range(N)], "national"),
        ("passport_no", [f"C{digits(8)}" for _ in range(N)], "national"),
        ("x", [account() for _ in range(N)], "IBAN"),
        ("x", [f"192.168.{R.randint(0, 255)}.{R.randint(0, 255)}" for _ in range(N)], "IP"),
        ("x", [f"2001:db8::{R.randint(1, 9999):x}:{R.randint(1, 9999):x}" for _ in range(N)], "IP"),
        ("First Name", [word() for _ in range(N)], "names of persons"),
        ("lastName", ["Nguyễn " + word() for _ in range(N)], "names of persons"),
        ("surname", ["Ann", "Bo", "Cy"], "names of persons"),
        ("PATIENT_DOB", DATES, "dates of birth"),
        ("birthDate", [str(day) for day in DATES], "dates of birth"),
        ("home_address", [f"{digits(2)} {word()} road" for _ in range(N)], "addresses"),
    ],
)
def test_personal_data_is_an_error(name: str, values: list[object], what: str) -> None:
    finding = one(name, values)
    assert finding is not None
    assert finding.severity is Severity.ERROR
    assert f"{name!r} seems to hold " in finding.message
    assert what in finding.message
    assert f"add {name} to data.ignored" in finding.remedy
    assert "data.quality.allow_personal" in finding.remedy


@pytest.mark.parametrize(
    "name, values, what",
    [
        ("email", [digits(32) for _ in range(N)], "e-mail"),
        ("name", [word() for _ in range(N)], "names of persons"),
        ("zip_code", [digits(5) for _ in range(N)], "addresses"),
        ("notes", ["me@home.example"] + ["nothing to see"] * 10_000, "e-mail"),
    ],
)
def test_what_may_be_personal_is_a_warning(name: str, values: list[object], what: str) -> None:
    finding = one(name, values)
    assert finding is not None
    assert finding.severity is Severity.WARNING
    assert f"{name!r} may hold " in finding.message
    assert what in finding.message


@pytest.mark.parametrize(
    "name, values",
    [
        ("fnlwgt", [R.randint(10_000, 1_500_000) for _ in range(N)]),
        ("flight", [R.randint(1, 8_500) for _ in range(N)]),
        ("tailnum", [f"N{digits(5)}" for _ in range(N)]),
        ("telephone", ["yes", "none"] * (N // 2)),
        ("phone", [True, False] * (N // 2)),
        ("emails_sent", [R.randint(0, 30) for _ in range(N)]),
        ("email_count", [R.randint(0, 1_000) for _ in range(N)]),
        ("phone_calls", [R.randint(0, 300) for _ in range(N)]),
        ("order", [int("7" + digits(14)) for _ in range(N)]),
        ("order", [digits(16) for _ in range(N)]),
        ("epoch_ms", [1_357_000_000_000 + R.randint(0, 10**10) for _ in range(N)]),
        ("seen", [f"2013-{i % 12 + 1:02d}-{i % 28 + 1:02d} 12:00:00" for i in range(N)]),
        ("seen", [f"{i % 28 + 1:02d}.{i % 12 + 1:02d}.2013" for i in range(N)]),
        ("seen", [datetime(2013, 1, 1) + timedelta(hours=i) for i in range(N)]),
        ("version", [f"{i}.{i + 1}.{i + 2}" for i in range(N)]),
        ("uuid", [f"{digits(8)}-{digits(4)}-{digits(4)}-{digits(4)}-{digits(12)}" for _ in range(N)]),
        ("ship", [word() for _ in range(N)]),
        ("handle", ["@home", "a@b", "x @ y.z"] * N),
        ("streetlights", [R.randint(1, 9) for _ in range(N)]),
        ("zeros", ["0" * 16] * N),
        ("zeros", [0.0] * N),
        ("infinite", [float("inf"), float("nan"), -1e300, None] * N),
        ("empty", [None] * N),
        ("", ["a"] * N),
        ("latitude", list(np.linspace(-90, 90, N))),
    ],
)
def test_ordinary_columns_pass(name: str, values: list[object]) -> None:
    if all(value is None for value in values):
        values = pl.Series(values, dtype=pl.String)  # type: ignore[assignment]
    assert one(name, values) is None


def test_declared_columns_are_told_and_pass() -> None:
    table = pl.DataFrame({"mail": [f"{word()}@x.org" for _ in range(N)]})
    (finding,) = findings(tables(table, settings=data_settings(allow_personal=["mail"])))
    assert finding.severity is Severity.INFO
    assert "declared in data.quality.allow_personal" in finding.message


def test_keys_and_groups_are_looked_at_but_not_the_target_or_what_is_ignored() -> None:
    mails = [f"{word()}@x.org" for _ in range(N)]
    table = pl.DataFrame(dict.fromkeys(("key", "group", "ignored", "y"), mails))
    roles = {"key": Role.KEY, "group": Role.GROUP, "ignored": Role.IGNORED}
    found = findings(tables(table, target="y", **roles))
    assert [finding.column for finding in found] == ["key", "group"]


def test_an_empty_table_has_nothing_personal() -> None:
    assert one("email", pl.Series([], dtype=pl.String)) is None


@pytest.mark.parametrize(
    "text, valid",
    [("4111 1111 1111 1111", False), ("4539 1488 0343 6467", True), ("8273 1232 7352 0569", False), ("1", False)],
)
def test_luhn(text: str, valid: bool) -> None:
    assert personal.luhn(text) is valid


@pytest.mark.parametrize(
    "text, valid",
    [("GB82 WEST 1234 5698 7654 32", True), ("GB82 WEST 1234 5698 7654 33", False), ("DE89370400440532013000", True)],
)
def test_iban(text: str, valid: bool) -> None:
    assert personal.iban(text) is valid
