"""Single values read in plain Python, without Polars: most need no more than this, the others go to `values.read`.

Text is read by its Unicode characters: white space around it is no part of it, and of several ways to write a letter
(é, or e and ´) the composed one counts (NFC).
"""

import unicodedata
from collections.abc import Collection
from functools import lru_cache

from tidemill.moments import instant, microseconds

WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029"
WHITE_SPACE += "\u202f\u205f\u3000"
"""Unicode's property White_Space. A zero-width space is none."""
EXACT = 2**53
"""The largest whole number up to which float64 holds every whole number."""

_REMEMBERED = 10_000  # texts
_LONG = 200  # characters of a text that is worth remembering


def clean(text: str) -> str:
    """Text as `values.clean` reads it; "" where nothing is left."""
    return unicodedata.normalize("NFC", text.strip(WHITE_SPACE))


class Texts:
    """Readings of a categorical column's texts, as most come again: bounded in number, never in doubt.

    plain: texts that are read as they stand. read: of other texts what they are read as, "" where that is missing.

    Args:
        marks: texts that mean "missing".
        numbers: whether a number has one spelling ("3", not "3.0").
    """

    def __init__(self, marks: Collection[str], *, numbers: bool) -> None:
        self._marks = frozenset(marks)
        self._numbers = numbers
        self.plain: set[str] = set()
        self.read: dict[str, str] = {}

    def are_plain(self, texts: Collection[str | None]) -> bool:
        """Whether all of them are texts that are read as they stand."""
        return self.plain.issuperset(texts) or all(map(self.is_plain, texts))

    def is_plain(self, text: str | None) -> bool:
        if text in self.plain:
            return True
        if not text or text in self._marks or not (text[0] > " " and text[-1] > " "):
            return False
        if self._numbers and not (text.isascii() and text.isdigit()):
            return False
        if not text.isascii() and (_broken(text) or clean(text) != text):
            return False
        if len(self.plain) < _REMEMBERED and len(text) <= _LONG:
            self.plain.add(text)
        return True

    def remember(self, text: str, read: str) -> None:
        if len(self.read) < _REMEMBERED and len(text) <= _LONG:
            self.read[text] = read


@lru_cache(maxsize=1024)
def texts_of(marks: tuple[str, ...], numbers: bool, missing_allowed: bool) -> Texts:
    """Those of a column, by all that its texts are read by; a missing one is refused where none may be."""
    return Texts(marks, numbers=numbers)


def _broken(text: str) -> bool:
    """Whether half a surrogate pair is in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def moment(text: str) -> int | None:
    """Microseconds since 1970 UTC of ISO 8601 text, which is UTC without an offset; None: it is none."""
    try:
        return microseconds(instant(text))
    except ValueError:
        return None


@lru_cache(maxsize=1024)
def bounds(earliest: str | None, latest: str | None) -> tuple[int, int] | None:
    """A column's first and last timestamp of training, microseconds; None where they are unknown."""
    first, last = (None if text is None else moment(text) for text in (earliest, latest))
    return None if first is None or last is None else (first, last)
