"""A file is replaced as a whole, or left as it was with nothing beside it."""

from pathlib import Path

import pytest

from tidemill import durable


@pytest.mark.parametrize("there", [False, True])
def test_a_full_disk_leaves_no_half_of_a_file(tmp_path: Path, there: bool) -> None:
    target = tmp_path / "part"
    if there:
        target.write_bytes(b"before")
    with pytest.raises(OSError, match="no space"), durable.replacing(target) as staged:
        staged.write_bytes(b"half")
        raise OSError("no space left")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"] * there


def test_the_new_content_comes_at_once_with_its_mode(tmp_path: Path) -> None:
    target = tmp_path / "keys"
    target.write_bytes(b"before")
    with durable.replacing(target, ".new-", 0o600) as staged:
        staged.write_bytes(b"after")
        assert staged.name.startswith(".new-") and target.read_bytes() == b"before"
    assert target.read_bytes() == b"after" and target.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [target]
