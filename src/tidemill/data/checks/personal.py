"""Personal data: columns that seem to hold it must be declared (quality.allow_personal) or dropped (data.ignored).

Two signs count: what a column is called and what its values look like. Values decide where a kind of
personal data has a form of its own (e-mail addresses, checked card numbers, …); where it has none
(names of persons), a plain name of the column with values that can be meant by it is enough. A name
alone, with values of another form, is a warning.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import polars as pl

from tidemill.data.checks.findings import Finding, Severity, noticed
from tidemill.data.schema import Column, Role
from tidemill.data.tables import Tables, sample
from tidemill.settings import Kind

ROWS = 10_000
"""Training rows looked at."""
SURE = 0.01
VARIED = 20
"""Distinct values (or half of the rows, if these are few) from which on a column can name persons."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PersonalKind:
    """One kind of personal data.

    names: words of a column's name that say so; doubtful: words that may.
    form: what the values look like, wherever it stands in a text; valid: a check of each text that has the form.
    share: of the values present that must have the form. Where that is no more than `SURE`, the form is so much its own
        that fewer are a warning.
    plausible: what values must look like for a column's name to be believed.
    """

    what: str
    names: tuple[str, ...]
    plausible: str
    doubtful: tuple[str, ...] = ()
    form: str | None = None
    valid: Callable[[str], bool] | None = None
    share: float = SURE


def luhn(text: str) -> bool:
    """Whether the digits are a payment card's: 13 to 19 of them, an issuer's first digit, check digit by ISO 7812."""
    digits = [int(c) for c in text if c.isdigit()]
    if not 13 <= len(digits) <= 19 or digits[0] not in (2, 3, 4, 5, 6) or len(set(digits)) < 4:
        return False
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(doubled) + sum(digits[-1::-2])) % 10 == 0


def iban(text: str) -> bool:
    """Check digits by ISO 13616: the account in front of country and check digits, letters as numbers, modulo 97."""
    letters = re.sub(r"\s", "", text).upper()
    moved = letters[4:] + letters[:4]
    return 15 <= len(letters) <= 34 and int("".join(str(int(c, 36)) for c in moved)) % 97 == 1


_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_LETTERS = r"\p{L}{2,}"
_DIGITS = r"\d(?:[\s().\-/]*\d){6,14}"

KINDS = (
    PersonalKind(
        what="e-mail addresses",
        names=("email", "e mail"),
        form=r"[\w.+\-]+@[\w\-]+(?:\.[\w\-]+)*\.\p{L}{2,}",
        plausible="@",
    ),
    PersonalKind(
        what="payment card numbers",
        names=("card number", "card no", "credit card", "debit card", "cardnumber", "cc number", "ccnum"),
        form=r"\b\d(?:[ \-]?\d){12,18}\b",
        valid=luhn,
        share=0.3,
        plausible=r"^\d(?:[ \-]?\d){11,18}$",
    ),
    PersonalKind(
        what="bank accounts (IBAN)",
        names=("iban", "bank account", "account number"),
        form=r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}\b",
        valid=iban,
        plausible=_DIGITS,
    ),
    PersonalKind(
        what="national identity numbers",
        names=(
            *("ssn", "social security", "nino", "national insurance", "national id", "identity number", "nhs number"),
            *("passport", "driver license", "drivers license", "driving licence", "tax id", "taxpayer", "cpf"),
            "aadhaar",
        ),
        form=r"\b[0-8]\d{2}-\d{2}-\d{4}\b|^[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]$",
        share=0.05,
        plausible=r"(?:\d[^\d]?){5}",
    ),
    PersonalKind(
        what="phone numbers",
        names=("phone", "telephone", "mobile", "cell phone", "cellphone", "msisdn", "fax"),
        form=r"^\s*(?:\+\d{1,3}[\s.\-]?(?:\(\d{1,4}\)[\s.\-]?)?\d(?:[\s.\-/]?\d){5,12}"
        r"|(?:1[\s.\-])?(?:\(\d{3}\)\s?|\d{3}[\s.\-])\d{3}[\s.\-]\d{4}|0\d{3,4} \d{3} ?\d{3,4})(?:\s*x\d+)?\s*$",
        share=0.2,
        plausible=rf"^\s*[+(]?{_DIGITS}",
    ),
    PersonalKind(
        what="IP addresses",
        names=("ip", "ip address", "ip addr", "ipaddress", "ipv4", "ipv6"),
        form=rf"^(?:{_OCTET}\.){{3}}{_OCTET}$|^(?:[0-9a-fA-F]{{1,4}}:){{7}}[0-9a-fA-F]{{1,4}}$"
        r"|^(?:[0-9a-fA-F]{1,4}:){1,6}(?::[0-9a-fA-F]{1,4}){1,6}$",
        share=0.2,
        plausible=r"^[\d.]{7,15}$|^[0-9a-fA-F:]{3,39}$",
    ),
    PersonalKind(
        what="names of persons",
        names=(
            *("first name", "firstname", "last name", "lastname", "surname", "full name", "fullname", "given name"),
            *("family name", "middle name", "maiden name", "forename", "patient name", "customer name", "client name"),
            *("person name", "employee name", "passenger name"),
        ),
        doubtful=("name", "username", "user name", "nickname"),
        plausible=_LETTERS,
    ),
    PersonalKind(
        what="dates of birth",
        names=("birth date", "birthdate", "date of birth", "birthday", "dob", "birth day"),
        plausible=r"\d{4}|\d{1,2}\D\d{1,2}",
    ),
    PersonalKind(
        what="postal addresses",
        names=("street", "home address", "mailing address", "postal address", "street address", "billing address"),
        doubtful=("address", "addr", "postcode", "postal code", "zip code", "zip", "zipcode"),
        plausible=_LETTERS,
    ),
)


def check(tables: Tables) -> Iterator[Finding]:
    """One finding at most for a column: an error where personal data is likely, a warning where it is possible."""
    declared = tables.settings.quality.allow_personal
    rows = sample(tables.train, ROWS)
    for column in tables.schema.columns:
        if column.role in (Role.IGNORED, Role.TARGET):
            continue
        found = _look(column, rows[column.name].drop_nulls())
        if found is None:
            continue
        severity, what, reason, hits, share = found
        allowed = column.name in declared
        yield noticed("personal", Severity.INFO if allowed else severity, column.name, hits, share)(
            message=f"{column.name!r} {'seems to hold' if severity is Severity.ERROR else 'may hold'} {what}: {reason}"
            + (" (declared in data.quality.allow_personal)" if allowed else ""),
            remedy=f"add {column.name} to data.ignored to drop it, or to data.quality.allow_personal to declare it",
        )


def _look(column: Column, values: pl.Series) -> tuple[Severity, str, str, int, float] | None:
    if values.is_empty() or column.kind is Kind.BOOLEAN:
        return None
    texts = _texts(column, values)
    varied = texts.n_unique() >= min(VARIED, -(-len(texts) // 2))
    weak = None
    for kind in KINDS:
        hits = _hits(column, kind, texts)
        share = hits / len(texts)
        called = _called(column.name, kind.names)
        if hits and share >= kind.share:
            return Severity.ERROR, kind.what, f"{share:.1%} of its values look like it", hits, share
        believable = varied and (called or _called(column.name, kind.doubtful))
        fitting = texts.str.contains(kind.plausible).mean() if believable else 0.0
        if called and believable and isinstance(fitting, float) and fitting >= 0.5:
            return Severity.ERROR, kind.what, "its name says so, and its values can be meant", len(texts), fitting
        if hits and kind.share <= SURE:
            weak = weak or (Severity.WARNING, kind.what, f"{hits:,} of its values look like it", hits, share)
        elif believable and column.kind is Kind.CATEGORICAL:
            weak = weak or (Severity.WARNING, kind.what, "its name may mean that", len(texts), 1.0)
    return weak


def _texts(column: Column, values: pl.Series) -> pl.Series:
    """Values as text: whole numbers without a point, timestamps as ISO 8601."""
    if column.kind is Kind.NUMERIC:
        whole = values.filter(values.is_finite() & (values.abs() < 1e18) & (values == values.floor()))
        return whole.cast(pl.Int64).cast(pl.String) if len(whole) == len(values) else pl.Series(["0.5"])
    return values.cast(pl.String)


def _hits(column: Column, kind: PersonalKind, texts: pl.Series) -> int:
    """Values of the kind's form. Numbers are looked at for card numbers only: other forms have signs in them."""
    if kind.form is None or column.kind is Kind.TIMESTAMP:
        return 0
    if column.kind is Kind.NUMERIC and kind.valid is not luhn:
        return 0
    if kind.valid is None:
        return int(texts.str.contains(kind.form).sum())
    matches = texts.str.extract(f"({kind.form})").drop_nulls()
    return sum(kind.valid(text) for text in matches)


def _called(name: str, words: tuple[str, ...]) -> bool:
    """Whether the words, in this order, are in a column's name, however it is written: birthDate, BIRTH_DATE, …"""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[\W_]+|(?<=[A-Za-z])(?=\d)", " ", name)
    spaced = f" {' '.join(split.lower().split())} "
    return any(f" {word} " in spaced for word in words)
