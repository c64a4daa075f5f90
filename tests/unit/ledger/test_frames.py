"""Frames: what goes in comes out, whatever the end of the file looks like."""

import msgspec
import numpy as np
import pytest
from ledger_entries import ROW, answered, described, in_columns, regression

from tidemill.ledger import frames
from tidemill.ledger.frames import Damage, Entry, entries
from tidemill.ledger.record import Answered, Form, Label, Role


def framed(entry: Entry) -> bytes:
    if isinstance(entry, Answered):
        return frames.answered(entry)
    return frames.label(entry) if isinstance(entry, Label) else frames.described(entry)


def same(left: Entry, right: Entry) -> bool:
    if isinstance(left, Answered) and isinstance(right, Answered):
        assert left.answers.keys() == right.answers.keys()
        for name, array in left.answers.items():
            np.testing.assert_array_equal(array, right.answers[name])
            assert array.dtype == right.answers[name].dtype
        left, right = msgspec.structs.replace(left, answers={}), msgspec.structs.replace(right, answers={})
    return left == right


ENTRIES: list[Entry] = [
    described(),
    answered(),
    answered("bb-2", [ROW] * 3),
    answered("cc-3", version="é" * 300, role=Role.SHADOW, form=Form.NONE, inputs=b"", propensity=1e-300),
    answered("dd-4", [ROW] * 4, role=Role.CANARY, rows=(0, 2, 3), answers=regression(3)),
    answered("dd-5", [ROW] * 2, role=Role.CANARY, tosses=(b"\0\xff345678", b"12345678")),
    answered("ee-5", answers={"value": np.array([np.nan, np.inf, -np.inf], np.float32)}),
    answered("ff-6", **in_columns({"size": [float("nan")], "color": ["x" * 10_000], "seen": [-(2**63)]})),
    answered("gg-7", answers={"label": np.array(["", "日本\x00語", "y" * 10_000], np.object_)}),
    answered("hh-8", [], inputs=b'{"rows":[]}'),
    Label("aa-1-0", "yes", 7),
    Label("bb-2-0", -0.5, 2**62, event_at=-(2**62)),
]


def test_round_trip() -> None:
    damage = Damage()
    found = list(entries(b"".join(map(framed, ENTRIES)), damage))
    assert len(found) == len(ENTRIES) and all(map(same, found, ENTRIES))
    assert damage == Damage()


def test_a_tear_at_every_byte_loses_only_the_torn_entry() -> None:
    short = [Label("a-0", "yes", 1), answered(), Label("b-0", 2.0, 3)]
    parts = [framed(entry) for entry in short]
    content, ends = b"".join(parts), np.cumsum([0, *map(len, parts)])
    for length in range(len(content) + 1):
        damage = Damage()
        whole = int(np.searchsorted(ends, length, "right")) - 1
        assert len(list(entries(content[:length], damage))) == whole
        assert damage == Damage(torn=length - int(ends[whole]))


def test_every_damaged_byte_in_the_middle_is_counted_and_costs_one_entry() -> None:
    parts = [framed(entry) for entry in (Label("a-0", "yes", 1), answered(), Label("b-0", 2.0, 3))]
    for position in range(len(parts[1])):
        middle = bytearray(parts[1])
        middle[position] ^= 0x5A
        damage = Damage()
        assert [entry.id for entry in entries(parts[0] + middle + parts[2], damage)] == ["a-0", "b-0"]  # type: ignore[union-attr]
        assert damage == Damage(gaps=1, skipped=len(middle))


@pytest.mark.parametrize("after", [b"", b"\0" * 100], ids=["end", "zeros"])
def test_a_whole_last_frame_with_a_wrong_checksum_is_damage_not_a_tear(after: bytes) -> None:
    frame = bytearray(framed(answered()))
    frame[-1] ^= 1
    damage = Damage()
    assert list(entries(bytes(frame) + after, damage)) == []
    assert damage == Damage(gaps=1, skipped=len(frame) + len(after))


def test_magic_in_an_answer_does_not_look_like_a_frame() -> None:
    inner = frames.label(Label("forged", "yes", 1))
    first = bytearray(framed(answered(inputs=b"x" + frames.MAGIC)))
    last = framed(Label("b-0", "no", 1))
    first[20] ^= 1
    assert [entry.id for entry in entries(bytes(first) + last, Damage())] == ["b-0"]  # type: ignore[union-attr]
    with pytest.raises(UnicodeDecodeError):
        inner.decode()  # so no JSON body can hold it
