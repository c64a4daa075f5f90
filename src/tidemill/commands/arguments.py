"""What options of commands take, beside text: dates and numbers with a rule."""

import argparse
import math
from collections.abc import Callable
from datetime import UTC, datetime

from tidemill import moments


def moment(text: str) -> datetime:
    """In UTC."""
    try:
        return moments.instant(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a date like 2027-01-01") from None


def number(text: str, rule: str, holds: Callable[[float], bool]) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan  # for which no comparison holds
    if not holds(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {rule}")
    return value


def above_0(text: str) -> float:
    return number(text, "a number greater than 0", lambda value: 0 < value < math.inf)


def count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number greater than 0")
    return int(text)
