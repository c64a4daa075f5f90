"""Who answers a record during a canary: by key alone, in the wanted share, alike everywhere."""

import hashlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tidemill.serve.answering import canary

KEYS = [f"customer-{number}" for number in range(20_000)]


def assign(keys: Any, model: Any, challenger: Any, share: Any) -> Any:
    chosen, tosses = canary.assign(keys, model, challenger, share)
    assert len(tosses) == len(keys) == len(chosen)
    return chosen


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_the_share_is_kept(share: float) -> None:
    chosen = assign(KEYS, "m", "2", share)
    assert chosen.dtype == bool and chosen.shape == (20_000,)
    deviation = (chosen.sum() - 20_000 * share) / np.sqrt(20_000 * share * (1 - share))
    assert abs(deviation) < 4


def test_numbers_are_uniform() -> None:
    """Chi-square: 43.8 is the 0.999 quantile with 19 degrees of freedom (20 cells)."""
    drawn = [hashlib.blake2b(f"m:2:0.5:{key}".encode(), digest_size=8).digest() for key in KEYS]
    cells = np.bincount([int.from_bytes(digest, "big") * 20 >> 64 for digest in drawn], minlength=20)
    assert ((cells - 1000) ** 2 / 1000).sum() < 43.8


@pytest.mark.parametrize("with_it", [("n", "2", 0.5), ("m", "3", 0.5), ("m", "2", 0.25)], ids=str)
def test_models_challengers_and_stages_choose_independently(with_it: tuple[float | str, ...]) -> None:
    """What a key met before says nothing of what it meets next; 10.8 is the 0.999 quantile of a 2×2 table."""
    one, other = assign(KEYS, "m", "2", 0.5), assign(KEYS, *with_it)
    table = np.array([[(one & other).sum(), (one & ~other).sum()], [(~one & other).sum(), (~one & ~other).sum()]])
    expected = np.outer(table.sum(1), table.sum(0)) / 20_000
    assert ((table - expected) ** 2 / expected).sum() < 10.8


def test_nobody_and_everybody() -> None:
    assert not assign(KEYS, "m", "2", 0.0).any() and assign(KEYS, "m", "2", 1.0).all()


def test_one_key_and_many_are_chosen_alike() -> None:
    many = assign(KEYS[:500], "m", "2", 0.3)
    assert [bool(assign([key], "m", "2", 0.3)[0]) for key in KEYS[:500]] == many.tolist()
    assert assign([], "m", "2", 0.3).shape == (0,)


def test_every_process_chooses_alike() -> None:
    """No seed of the process enters, as Python's own hash of texts would."""
    code = (
        "from tidemill.serve.answering.canary import assign; print(assign(['a', 'b', 'ü', '', 'c'], 'm', '2', 0.5)[1])"
    )
    seen = {
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=env).stdout
        for env in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2"})
    }
    assert seen == {f"{canary.assign(['a', 'b', 'ü', '', 'c'], 'm', '2', 0.5)[1]}\n"}


def test_the_hash_is_the_documented_one() -> None:
    for share in (0.1, 0.5):
        number = (
            int.from_bytes(hashlib.blake2b(f"m:2:{share:.17g}:Zoë".encode(), digest_size=8).digest(), "big") / 2**64
        )
        assert assign(["Zoë"], "m", "2", share)[0] == (number < share)
    assert assign(["\ud800"], "m", "2", 1.0)[0], "half a character, as JSON can hold it, is a key like any other"


def test_without_the_secret_nobody_can_look_for_keys_that_meet_the_challenger() -> None:
    """158 tries gave 20 keys that all met it at a share of .1."""
    secret = bytes(range(32))
    foreseen = [key for key in KEYS if canary.assign([key], "m", "2", 0.1)[0][0]][:500]
    met = canary.assign(foreseen, "m", "2", 0.1, secret)[0].mean()
    assert len(foreseen) == 500 and abs(met - 0.1) < 4 * np.sqrt(0.09 / 500)
    assert canary.assign(KEYS, "m", "2", 0.1, secret)[1] == canary.assign(KEYS, "m", "2", 0.1, secret)[1]
    deviation = (canary.assign(KEYS, "m", "2", 0.1, secret)[0].sum() - 2000) / np.sqrt(20_000 * 0.09)
    assert abs(deviation) < 4
