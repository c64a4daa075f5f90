"""Messages stay short enough to be read, however many columns, classes or files there are."""

import doctest
import pickle

import pytest

from tidemill import errors
from tidemill.errors import TEXT, TidemillError, listed


def kinds(root: type[TidemillError] = TidemillError) -> list[type[TidemillError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in kinds(child))]


@pytest.mark.parametrize("kind", kinds())
def test_no_error_is_longer_than_a_person_reads(kind: type[TidemillError]) -> None:
    names = ", ".join(f"column_{i}" for i in range(5_000))
    error = kind(f"rule {names}", observed=f"first {names} last", remedy=names)
    for text in (str(error), str(pickle.loads(pickle.dumps(error)))):
        assert len(text) < 3 * TEXT + 200
        assert "first column_0" in text and "column_4999 last" in text and "characters left out" in text


def test_sentences_are_joined_without_stray_stops_or_lines() -> None:
    one = TidemillError("A rule", observed="what a library said.\n \n", remedy="mend it\n")
    assert str(one) == "A rule. Got: what a library said. Remedy: mend it."
    several = TidemillError("A rule", observed="\n  a\n  b\n ", remedy="mend each.")
    assert str(several) == "A rule. Got:\n  a\n  b.\nRemedy: mend each."


def test_a_list_says_how_many_it_leaves_out() -> None:
    assert listed(range(5_000), 3) == "0, 1, 2 and 4,997 more"
    assert listed(["a", "b"], quoted=True, joint=" and ") == "'a' and 'b'"
    assert listed([]) == ""
    assert len(listed(["x" * 10_000] * 5_000)) < TEXT
    assert doctest.testmod(errors).failed == 0
