"""Instants: UTC where no offset is given, and microseconds since 1970."""

import ast
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tidemill.moments import EPOCH, aware, floor, from_microseconds, instant, microseconds

SOURCE = Path(__file__).parents[2] / "src" / "tidemill"


def test_an_instant_without_an_offset_is_utc() -> None:
    assert instant("2013-06-01") == instant("2013-06-01T02:00:00+02:00")
    assert aware(datetime(2013, 6, 1)) == datetime(2013, 6, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="July"):
        instant("July")


@pytest.mark.parametrize("text", ["0001-01-01T00:00+01:00", "1969-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-01:00"])
def test_microseconds_are_exact_even_where_utc_has_no_such_year(text: str) -> None:
    assert timedelta(microseconds=microseconds(instant(text))) == instant(text) - EPOCH


def test_microseconds_become_the_instant_again() -> None:
    assert from_microseconds(microseconds(instant("2013-06-01T12:00:00.000001+02:00"))).isoformat() == (
        "2013-06-01T10:00:00.000001+00:00"
    )


def test_periods_are_counted_from_1970() -> None:
    assert floor(instant("2026-03-01T00:59"), timedelta(hours=1)) == instant("2026-03-01")
    assert floor(instant("2026-03-01T13:00"), timedelta(days=1)).hour == 0


def test_nobody_else_says_what_no_offset_means() -> None:
    """`moment.replace(tzinfo=UTC)` and an epoch of one's own stand in `moments` alone."""
    own = [
        f"{file.relative_to(SOURCE)}:{node.lineno}"
        for file in SOURCE.rglob("*.py")
        if file.name != "moments.py"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and (_sets_utc(node) or _is_epoch(node))
    ]
    assert own == []


def _sets_utc(call: ast.Call) -> bool:
    """Of a value, not of `datetime.max` and `datetime.min`, which are UTC's own ends."""
    if not (isinstance(call.func, ast.Attribute) and call.func.attr == "replace"):
        return False
    ends = isinstance(call.func.value, ast.Attribute) and call.func.value.attr in ("max", "min")
    return any(word.arg == "tzinfo" for word in call.keywords) and not ends


def _is_epoch(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    first = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
    zoned = any(word.arg in ("tzinfo", "tz") for word in call.keywords)
    return zoned and (name, *first[:3]) in (("datetime", 1970, 1, 1), ("fromtimestamp", 0))
