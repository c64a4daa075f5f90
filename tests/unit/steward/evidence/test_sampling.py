"""Rows in blocks and rows thinned: the same ones in whatever parts they come, and through JSON."""

import numpy as np
import pytest

from reread import reread
from tidemill.steward.evidence.sampling import BLOCK, Blocks, Thinned


@pytest.mark.parametrize("parts", [[100], [1] * 100, [37, 0, 63], [5, 95]])
def test_the_same_rows_are_kept_however_they_come(parts: list[int]) -> None:
    kept, start = Thinned(most=16), 0
    for number in parts:
        places = kept.places(number)
        kept.add({"row": start + places})
        kept = reread(kept)
        start += number
    assert kept.arrays["row"].tolist() == list(range(0, 100, 8)) and len(kept) == 13


@pytest.mark.parametrize("parts", [[40_000], [16_384, 23_616], [1, 39_999], [9_000, 9_000, 22_000]])
def test_the_same_blocks_are_cut_however_rows_come(parts: list[int]) -> None:
    rows = np.arange(40_000)
    blocks, found, start = Blocks(), [], 0
    for number in parts:
        part = rows[start : start + number]
        found += [pair[0].tolist() for pair in blocks.add(part, -part)]
        blocks = reread(blocks)
        start += number
    found += [pair[0].tolist() for pair in blocks.rest()]
    assert [len(block) for block in found] == [BLOCK, BLOCK, 40_000 - 2 * BLOCK]
    assert [row for block in found for row in block] == rows.tolist()
    assert list(blocks.rest()) == [] == list(Blocks().rest())
