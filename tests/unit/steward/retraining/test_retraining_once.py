"""One retraining and what may befall it: real processes, locks, kills, a real ledger and registry."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from retraining_parts import START, ledger, record_answers, settings

from patience import until
from tidemill.bundle import checksums, manifest
from tidemill.bundle.registry.registry import Registry
from tidemill.errors import TrainingError
from tidemill.ledger.settings import Masking
from tidemill.steward.retraining import running
from tidemill.steward.retraining.aging import Horizon
from tidemill.steward.retraining.retraining import Phase, Retraining, State

HERE = Path(__file__).parents[1]


@dataclasses.dataclass
class Place:
    """A registry with a champion, a ledger with its answers, and a folder for retrainings."""

    folder: Path
    bundle: Path

    def retraining(self, mode: str = "checkpoint", name: str = "d1", **changes: Any) -> Retraining:
        words = ["python", str(HERE / "stand_in_training.py"), f"bundle={self.bundle}", f"mode={mode}"]
        return Retraining(
            settings=settings(command=words, **changes),
            folder=self.folder / name,
            ledger=ledger(self.folder),
            registry=str(self.folder / "registry"),
            model="small",
            horizon=Horizon(until=START + timedelta(days=30), known_before=START + timedelta(days=30)),
        )

    def versions(self) -> list[str]:
        return Registry(self.folder / "registry").versions("small")

    def go(self, step: str, name: str = "d1") -> None:
        (self.folder / name / "run" / step).touch()

    def status(self, name: str = "d1", other_than: int | None = None) -> dict[str, Any]:
        """What the training noted when it began."""
        file = self.folder / name / "run" / "status.json"
        until(lambda: file.exists() and json.loads(file.read_text())["pid"] != other_than)
        return json.loads(file.read_text())


def concluded(one: Retraining) -> State:
    until(lambda: one.advance().ended)
    return one.state()


@pytest.fixture(scope="module")
def champion(small_binary: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A registry whose champion's table has moments, and a ledger with answers to 20 requests."""
    place = tmp_path_factory.mktemp("champion")
    bundle = place / "bundle"
    shutil.copytree(small_binary.folder, bundle)
    described = manifest.read(bundle)
    described.interface.schema["columns"]["at"]["role"] = "time"
    described.settings["data"] = {"source": "files", "options": {}, "weight": None}
    manifest.write(described, bundle)
    checksums.write(bundle)
    registry = Registry(place / "registry")
    registry.promote("small", registry.add("small", bundle), by="test", reason="first")
    rows = [{"size": float(number), "city": "a", "open": True} for number in range(20)]
    labels = ["mid" if number % 3 else "ä-high" for number in range(20)]
    record_answers(ledger(place), "small", described.schema, rows, labels, START)
    return place, bundle


@pytest.fixture
def place(champion: tuple[Path, Path], tmp_path: Path) -> Iterator[Place]:
    shutil.copytree(champion[0] / "registry", tmp_path / "registry")
    shutil.copytree(champion[0] / "ledger", tmp_path / "ledger")
    place = Place(folder=tmp_path, bundle=champion[1])
    yield place
    for file in tmp_path.glob("*/run/status.json"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(json.loads(file.read_text())["pid"], signal.SIGKILL)
    for folder in tmp_path.glob("d*"):
        if (mine := running._STARTED.pop(folder, None)) is not None:
            mine.wait()


def test_two_stewards_run_it_once(place: Place) -> None:
    one, other = place.retraining(), place.retraining()
    assert one.state() == State(phase=Phase.NOT_BEGUN)
    assert one.advance() == State(phase=Phase.RUNNING, attempts=1)
    assert other.advance() == State(phase=Phase.RUNNING, attempts=1)
    status = place.status()
    assert (status["nice"], status["idle"], status["threads"]) == (os.nice(0), False, "1")
    place.go("train"), place.go("end")
    done = State(phase=Phase.DONE, attempts=1, version="2", passed=True, reasons=("It is better.",))
    assert concluded(other) == done
    assert one.advance() == one.state() == done
    assert place.versions() == ["1", "2"]


def test_a_killed_training_is_gone_on_with(place: Place) -> None:
    one = place.retraining()
    one.advance()
    first = place.status()
    assert not first["resumed"]
    os.kill(first["pid"], signal.SIGKILL)
    until(lambda: one.advance().attempts == 2)
    assert place.status(other_than=first["pid"])["resumed"]
    place.go("train"), place.go("end")
    assert concluded(one).version == "2"
    assert place.versions() == ["1", "2"]


def test_without_a_checkpoint_it_begins_anew_and_attempts_are_counted(place: Place) -> None:
    one = place.retraining(mode="early", attempts=2)
    one.advance()
    first = place.status()["pid"]
    os.kill(first, signal.SIGKILL)
    until(lambda: one.advance().attempts == 2)
    second = place.status(other_than=first)
    assert not second["resumed"]
    os.kill(second["pid"], signal.SIGKILL)
    state = concluded(one)
    assert state.phase is Phase.FAILED
    log = place.folder / "d1" / "attempt-2.log"
    assert state.why == f"ended 2 times without a result, at last with status -9. Its log: {log}"


def test_a_version_that_was_registered_before_the_kill_is_found(place: Place) -> None:
    one = place.retraining()
    one.advance()
    pid = place.status()["pid"]
    place.go("train")
    until(lambda: (place.folder / "d1" / "run" / "registered").exists())
    os.kill(pid, signal.SIGKILL)
    assert concluded(one) == State(phase=Phase.DONE, attempts=1, version="2", passed=True, reasons=("It is better.",))
    assert place.versions() == ["1", "2"]


@pytest.mark.slow
def test_a_killed_steward_leaves_a_training_that_the_next_one_takes_over(place: Place) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path; from test_retraining_once import Place\n"
        "Place(folder=Path(sys.argv[1]), bundle=Path(sys.argv[2])).retraining().advance()\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, str(place.folder), str(place.bundle)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    one = place.retraining()
    assert one.advance() == State(phase=Phase.RUNNING, attempts=1), "its training holds the lock"
    pid = place.status()["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: one.advance().attempts == 2)
    place.status(other_than=pid)
    place.go("train"), place.go("end")
    assert concluded(one).version == "2"


def test_one_that_fails_by_itself_is_not_repeated(place: Place) -> None:
    one = place.retraining(mode="fail")
    one.advance()
    state = concluded(one)
    assert (state.phase, state.attempts) == (Phase.FAILED, 1)
    said = "SplitError: No split may be empty. Got: test 0 rows. Remedy: give more rows."
    assert state.why == f"{said} Its log: {place.folder / 'd1' / 'attempt-1.log'}"
    assert place.retraining(mode="checkpoint").advance() == state, "also when the settings are mended later"


def test_a_steward_that_did_not_start_it_reads_the_error_from_its_log(place: Place) -> None:
    one = place.retraining(mode="fail")
    one.advance()
    assert running._STARTED.pop(one.folder).wait() == 1
    state = place.retraining(mode="fail").advance()
    assert state.why is not None and "SplitError: No split" in state.why


def test_of_a_long_error_a_line_or_two_is_told(tmp_path: Path) -> None:
    log = tmp_path / "attempt-1.log"
    chain = "ValueError: inner\n\nDuring handling …\n\nTraceback (most recent call last):\n"
    log.write_text(f"epoch 1\n{chain}mine.own.FitError: it went wrong\n  at {'x' * 5000}\n")
    said = running._said(log)
    assert said.startswith("mine.own.FitError: it went wrong at xxx") and len(said) < 410
    log.write_text("epoch 1\n")
    assert running._said(log) == ""


def _gone(pid: int) -> bool:
    try:
        return "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]
    except FileNotFoundError:
        return True


@pytest.mark.slow
@pytest.mark.parametrize("mine", [True, False])
def test_one_that_takes_too_long_is_ended_with_its_children_and_is_not_repeated(place: Place, mine: bool) -> None:
    one = place.retraining(mode="children", hours=0.0005)
    assert one.advance() == State(phase=Phase.RUNNING, attempts=1)
    status = place.status()
    if not mine:  # as another steward sees it, after the one that began it was killed
        started = running._STARTED.pop(one.folder)
    state = concluded(one)
    assert (state.phase, state.attempts) == (Phase.FAILED, 1)
    log = place.folder / "d1" / "attempt-1.log"
    assert state.why == f"it took longer than retrain.hours=0.0005, and was ended. Its log: {log}"
    until(lambda: _gone(status["pid"]) and _gone(status["child"]))
    assert place.versions() == ["1"]
    if not mine:
        assert started.wait() == -signal.SIGKILL


def test_a_process_that_only_has_its_number_is_left_alone(place: Place) -> None:
    one = place.retraining(hours=0.0001)
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as other:
        one.advance()
        place.status()
        (place.folder / "d1" / "attempt-1.pid").write_text(str(other.pid))
        time.sleep(0.5)  # now it has taken longer than it may
        for _ in range(3):
            assert one.advance() == State(phase=Phase.RUNNING, attempts=1)
        other.terminate()
        assert other.wait() == -signal.SIGTERM, "and by nothing before"


def test_without_a_limit_it_may_take_for_ever(place: Place) -> None:
    one = place.retraining(hours=None)
    one.advance()
    plan = place.folder / "d1" / "plan.json"
    plan.write_text(json.dumps({**json.loads(plan.read_text()), "started": "1970-01-01T00:00:00+00:00"}))
    assert one.advance() == State(phase=Phase.RUNNING, attempts=1)
    assert not _gone(place.status()["pid"])


def test_what_cannot_be_trained_on_fails_without_an_attempt(place: Place) -> None:
    state = place.retraining(min_records=21).advance()
    assert (state.phase, state.attempts) == (Phase.FAILED, 0)
    assert state.why is not None and "20, and retrain.min_records=21" in state.why
    hidden = place.retraining(name="d2")
    hidden.ledger = dataclasses.replace(hidden.ledger, columns={"city": Masking.HASH})
    why = hidden.advance().why
    assert why is not None and why.startswith("A model can only be trained again on columns")


def test_the_plan_can_be_read(place: Place) -> None:
    place.retraining(mode="fail").advance()
    plan = json.loads((place.folder / "d1" / "plan.json").read_text())
    assert (plan["records"], plan["attempts"], plan["until"]) == (20, 1, "2026-01-31T00:00:00+00:00")
    assert "data.options.base='files'" in plan["words"]


def test_a_cluster_that_cannot_be_reached_is_tried_again(place: Place) -> None:
    one = place.retraining(runner="ray", ray_address="http://127.0.0.1:9")
    with pytest.raises(TrainingError, match=r"retrain.ray_address=http://127.0.0.1:9"):
        one.advance()
    assert (one.state().phase, one.state().attempts) == (Phase.RUNNING, 0), "no attempt is lost by it"
