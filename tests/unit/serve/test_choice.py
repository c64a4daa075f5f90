"""Who answers a record during a canary: by key alone, in the wanted share, alike everywhere."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from tidemill.serve.choice import assign

KEYS = [f"customer-{number}" for number in range(20_000)]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_the_share_is_kept(share):
    chosen = assign(KEYS, "m", share)
    assert chosen.dtype == bool and chosen.shape == (20_000,)
    deviation = (chosen.sum() - 20_000 * share) / np.sqrt(20_000 * share * (1 - share))
    assert abs(deviation) < 4


def test_numbers_are_uniform_and_models_independent():
    """Chi-square: 43.8 is the 0.999 quantile with 19 degrees of freedom (20 cells), 10.8 with 1 (a 2×2 table)."""
    cells = np.diff([assign(KEYS, "m", share).sum() for share in np.linspace(0, 1, 21)])
    assert ((cells - 1000) ** 2 / 1000).sum() < 43.8
    one, other = assign(KEYS, "m", 0.5), assign(KEYS, "n", 0.5)
    table = np.array([[(one & other).sum(), (one & ~other).sum()], [(~one & other).sum(), (~one & ~other).sum()]])
    expected = np.outer(table.sum(1), table.sum(0)) / 20_000
    assert ((table - expected) ** 2 / expected).sum() < 10.8


def test_a_greater_share_keeps_whom_a_smaller_one_had():
    before = np.zeros(len(KEYS), dtype=bool)
    for share in (0.0, 0.01, 0.1, 0.3, 0.300001, 0.99, 1.0):
        chosen = assign(KEYS, "m", share)
        assert chosen[before].all()
        before = chosen
    assert not assign(KEYS, "m", 0.0).any() and assign(KEYS, "m", 1.0).all()


def test_one_key_and_many_are_chosen_alike():
    many = assign(KEYS[:500], "m", 0.3)
    assert [bool(assign([key], "m", 0.3)[0]) for key in KEYS[:500]] == many.tolist()
    assert assign([], "m", 0.3).shape == (0,)


def test_every_process_chooses_alike():
    """No seed of the process enters, as Python's own hash of texts would."""
    code = "from tidemill.serve.choice import assign; print(assign(['a', 'b', 'ü', '', 'c'], 'm', 0.5).tolist())"
    seen = {
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=env).stdout
        for env in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2"})
    }
    assert seen == {f"{assign(['a', 'b', 'ü', '', 'c'], 'm', 0.5).tolist()}\n"}


def test_the_hash_is_the_documented_one():
    number = int.from_bytes(hashlib.blake2b("m:Zoë".encode(), digest_size=8).digest(), "big") / 2**64
    assert not assign(["Zoë"], "m", number - 1e-9)[0] and assign(["Zoë"], "m", number + 1e-9)[0]
    assert assign(["\ud800"], "m", 1.0)[0], "half a character, as JSON can hold it, is a key like any other"
