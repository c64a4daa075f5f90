"""`tidemill replay`: what it takes, what it refuses before any work, and a server that does not come up."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tidemill import cli
from tidemill.bundle.registry.registry import Registry
from tidemill.data.labels.maturity import Maturity
from tidemill.errors import ReplayError
from tidemill.ledger.settings import LedgerSettings
from tidemill.replay import run
from tidemill.replay.folder import MARK
from tidemill.replay.live import server
from tidemill.replay.live.children import Children
from tidemill.replay.policy import fitted
from tidemill.replay.table.window import TimeWindow


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--from", "April"], "'April' is not a date like 2027-01-01"),
        (["--until", "0001-01-01T00:00+01:00"], "is not a date like 2027-01-01"),
        (["--speed", "fast"], "'fast' is not a number greater than 0, or max"),
        (["--speed", "-1"], "not a number greater than 0, or max"),
        (["--rows", "0"], "'0' is not a whole number greater than 0"),
        (["--label-delay", "-1"], "'-1' is not a number of hours, 0 or more"),
        (["--label-delay", "1", "--label-time", "at"], "not allowed with argument"),
        (["--mature-share", "1"], "'1' is not a share between 0 and 1"),
        (["--labels", "none"], "invalid choice: 'none'"),
    ],
)
def test_wrong_words(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["replay", "+experiment=flights", *words])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_what_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = ["--folder", str(tmp_path / "replay")]
    assert cli.main(["replay", "+experiment=flights", "--fault", "mising:temp@2013-08-01", *folder]) == 1
    assert "did you mean 'missing'" in capsys.readouterr().err
    assert cli.main(["replay", "+experiment=flights", "--speed", "max", *folder]) == 1
    assert "no train.py in" in capsys.readouterr().err
    (tmp_path / "replay" / MARK).unlink()
    (tmp_path / "replay" / "ledger").mkdir()
    assert cli.main(["replay", "+experiment=flights", "--check", *folder]) == 1
    assert "ReplayError: A replay needs a new or empty folder" in capsys.readouterr().err


def test_a_server_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played: Any = SimpleNamespace(
        registry=Registry(tmp_path / "registry"), model="small", ledger=LedgerSettings(path=str(tmp_path / "ledger"))
    )
    monkeypatch.setattr(server, "_STARTED", 0.2)
    monkeypatch.setattr(server, "PROGRAM", (sys.executable, "-c", "import time; time.sleep(60)"))
    with Children(tmp_path) as children, pytest.raises(ReplayError, match=r"not after 0 s.*server\.log"):
        server.start(children, played.registry.path, played.model, played.ledger)


def test_labels_that_are_weighed_after_the_end_are_refused_before_a_model_is_trained(tmp_path: Path) -> None:
    """370 days of waiting, and 300 days of records: everything would be trained and sent for nothing."""
    since = datetime(2016, 4, 1, tzinfo=UTC)
    late = TimeWindow(
        since=since,
        until=None,
        last=since + timedelta(days=300),
        per_day=9.0,
        maturity=Maturity(age=timedelta(days=369), share=0.95),
    )
    policy = fitted(None, ["train.py", "a"], late, None, tmp_path / "policy.yaml")
    assert policy.time.label_wait_hours == 8_880
    with pytest.raises(ReplayError, match=r"8880 hours \(370 days\).*end 300 days after --from.*earlier --from"):
        run._check_wait(policy, late, late.last)
    run._check_wait(policy, late, since + timedelta(days=371))
