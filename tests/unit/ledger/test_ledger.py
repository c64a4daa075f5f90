"""The ledger as a replica uses it, with its real shipping process; and what is left of it after kill -9."""

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ledger_entries import AT, ROW, answered, described
from ledger_reading import requests

from patience import until
from tidemill.errors import LedgerError, SettingsError
from tidemill.ledger import tables
from tidemill.ledger.ledger import Ledger
from tidemill.ledger.record import Label
from tidemill.ledger.settings import LedgerSettings, Masking, WhenFull
from tidemill.ledger.wal import Lag


def test_without_a_path_nothing_is_recorded() -> None:
    ledger = Ledger(LedgerSettings(path=None), "shop")
    ledger.describe(described())
    ledger.answered([answered()])
    ledger.labelled([Label("aa-1-0", "yes", AT)])
    assert (ledger.keeps, ledger.lost, ledger.failures, ledger.lag()) == (False, 0, 0, Lag(0, 0.0))
    ledger.close()


@pytest.mark.parametrize("full", ["folder", "note", "key", "segment"])
def test_a_disk_that_is_full_at_the_start_keeps_nobody_who_would_continue_from_starting(
    settings: LedgerSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, full: str
) -> None:
    """Wherever the disk fills up; once there is room, entries reach the tables, under their descriptions."""
    names = {"folder": "shop", "note": ".ledger.json-", "key": ".hash.key-", "segment": ".new-1"}
    attempts: list[str] = []
    real_mkdir, real_open = os.mkdir, os.open

    def refusing(real: Any) -> Any:
        def called(path: Any, *more: Any, **named: Any) -> Any:
            if Path(path).name.startswith(names[full]):
                attempts.append(full)
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            return real(path, *more, **named)

        return called

    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", refusing(real_mkdir))
        patch.setattr(os, "open", refusing(real_open))
        with pytest.raises(LedgerError, match="No space left"):
            Ledger(settings, "shop")
        before = len(list(Path("/proc/self/fd").iterdir()))
        ledger = Ledger(replace(settings, when_full=WhenFull.CONTINUE), "shop")
        ledger.describe(described())
        ledger.answered([answered("a"), answered("b")])
        ledger.labelled([Label("a-0", "yes", AT)])
        before_these = len(attempts)
        until(lambda: len(attempts) >= before_these + 3)
        assert (ledger.keeps, ledger.lost, ledger.refuses, ledger.failures) == (True, 3, False, 0)
        until(lambda: len(list(Path("/proc/self/fd").iterdir())) == before)  # none is kept between attempts
        until(lambda: not [path for path in Path(str(settings.path)).rglob("*") if path.name[:5] in (".new-", "lock")])
        assert "ANSWERING WITHOUT RECORD until there is room" in caplog.text
    until(lambda: "the ledger has begun; 3 records before were lost" in caplog.text)
    ledger.answered([answered("c")])
    ledger.close()
    assert requests(settings) == ["c"] and ledger.lost == 3


def test_a_ledger_that_never_began_ends(settings: LedgerSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "mkdir", full)
    ledger = Ledger(replace(settings, when_full=WhenFull.CONTINUE), "shop")
    ledger.answered([answered("a")])
    ledger.close()
    assert ledger.lost == 1 and ledger.lag() == Lag(0, 0.0)


def test_a_wrong_folder_is_told_at_the_start_whatever_happens_on_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="local folder must take them"):
        Ledger(LedgerSettings(path=str(tmp_path / "file"), when_full=WhenFull.CONTINUE), "shop")


def test_answers_and_labels_reach_the_tables_while_it_runs_and_when_it_ends(settings: LedgerSettings) -> None:
    ledger = Ledger(settings, "shop")
    ledger.describe(described())
    ledger.answered([answered("a"), answered("b", [ROW] * 2)])
    ledger.labelled([Label("a-0", "yes", AT)])
    assert ledger.lag().records == 3
    until(lambda: not ledger.lag().records)
    assert requests(settings) == ["a", "b", "b"]
    ledger.answered([answered("c")])
    ledger.close()
    ledger.close()
    assert requests(settings) == ["a", "b", "b", "c"]
    assert tables.joined(settings, "shop").collect()["true_label"].drop_nulls().to_list() == ["yes"]
    assert (ledger.lost, ledger.failures) == (0, 0)
    with pytest.raises(LedgerError, match="only while it is open"):
        ledger.answered([answered("d")])


def test_two_replicas_share_a_folder_and_one_goes_on_where_the_other_ends(settings: LedgerSettings) -> None:
    first = Ledger(settings, "shop")
    second = Ledger(settings, "shop")
    for ledger, name in ((first, "a"), (second, "b")):
        ledger.describe(described())
        ledger.answered([answered(name)])
    until(lambda: not first.lag().records and not second.lag().records)
    for ledger, name in ((first, "c"), (second, "d")):
        ledger.answered([answered(name)])
        ledger.close()
    assert requests(settings) == ["a", "b", "c", "d"]
    assert not list(settings.segments("shop").glob("*/*.wal"))


def test_a_column_that_is_to_be_covered_and_does_not_exist_is_refused(tmp_path: Path) -> None:
    ledger = Ledger(LedgerSettings(path=str(tmp_path), columns={"persn": Masking.MASK}), "shop")
    with pytest.raises(SettingsError, match=r"name in ledger.columns must be a column.*Got: persn; the columns are"):
        ledger.describe(described())
    ledger.close()


def test_a_key_that_cannot_be_used_is_refused_at_the_start(tmp_path: Path) -> None:
    settings = LedgerSettings(path=str(tmp_path), hash_key_file=str(tmp_path / "none"))
    with pytest.raises(SettingsError, match="The key for digests"):
        Ledger(settings, "shop")
