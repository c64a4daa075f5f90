"""The folder of a replay: one replay at a time, taken anew as long as nothing was sent."""

from pathlib import Path

import pytest

from tidemill.errors import ReplayError
from tidemill.replay.folder import MARK, claimed


def test_it_is_taken_anew_until_something_was_sent(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "one"
    for _ in range(2):
        with claimed(folder):
            assert sorted(entry.name for entry in folder.iterdir()) == [MARK]
            (folder / "registry" / "shop").mkdir(parents=True)
            (folder / "policy.yaml").write_text("mode: act")
    (folder / "notes.txt").write_text("mine")
    with claimed(folder) as sending:
        assert sorted(entry.name for entry in folder.iterdir()) == ["notes.txt", MARK], "what is not ours stays"
        sending()
    with pytest.raises(ReplayError, match=r"one holds notes\.txt.*--folder"), claimed(folder):
        pass
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    (tmp_path / "policy.yaml").write_text("mode: act")
    with pytest.raises(ReplayError, match="new or empty folder"), claimed(tmp_path):
        pass
    assert (tmp_path / "policy.yaml").exists() and (tmp_path / "registry").exists()


def test_two_at_once(tmp_path: Path) -> None:
    with claimed(tmp_path / "one"):
        (tmp_path / "one" / "registry").mkdir()
        with pytest.raises(ReplayError, match="another one is at work"), claimed(tmp_path / "one"):
            pass
        assert (tmp_path / "one" / "registry").exists()
