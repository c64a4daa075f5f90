"""kill -9 of the steward and of its retrainings, again and again: the loop goes on, and nothing is decided twice."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from served import HOUR, MODEL, NOW, Served

from patience import PATIENCE, until
from tidemill.bundle.registry.rollout import Mode
from tidemill.steward.book import Book, Kind

TRAINER = str(Path(__file__).with_name("trainer.py"))
POLICY = {
    "time": {"clock": "event", "period_hours": 24, "grace_hours": 0, "label_wait_hours": 24, "look_seconds": 0.05},
    "watches": {},
    "trial": {"minimum": 100, "canary": [0.5], "stage_minimum": 100, "probation": 300},
    "triggers": {"every_days": 5.0, "on_harm": False, "cooldown_days": 1.0, "budget": 100},
    "retrain": {
        "command": ["python", TRAINER, "seconds=0.3"],
        "min_records": 100,
        "priority": "normal",
        "attempts": 50,
    },
}
PROMOTIONS = 2
PAST = NOW - timedelta(days=4000)


class Life:
    """Traffic that follows the registry, and a steward that is killed at random and started again."""

    def __init__(self, place: Path, seed: int) -> None:
        self.served = Served(place)
        self.policy = {**POLICY, "watches": dict.fromkeys(_watches())}
        (place / "policy.yaml").write_text(yaml.safe_dump(self.policy))
        self.place, self.random, self.day, self.kills = place, random.Random(seed), 0, Counter[str]()
        self.begun = subprocess.Popen(["true"])

    def start(self) -> None:
        where = ["--registry", str(self.place / "registry"), "--ledger", str(self.place / "ledger")]
        files = ["--policy", str(self.place / "policy.yaml"), "--work", str(self.place / "work")]
        words = [sys.executable, "-m", "tidemill.cli", "steward", "--model", MODEL, *where, *files]
        self.begun.wait()
        with (self.place / "log").open("ab") as log:
            self.begun = subprocess.Popen(words, stderr=log, stdout=subprocess.DEVNULL)

    def wait(self) -> None:
        """Mostly until it has looked, and then for a moment more; sometimes it is killed while it starts."""
        if self.random.random() >= 0.1:
            self.look()
        time.sleep(self.random.uniform(0, 1))

    def look(self) -> None:
        """Wait until it has looked."""
        status = self.place / "ledger" / MODEL / "steward" / "status.json"
        begun = time.time()
        until(lambda: status.exists() and status.stat().st_mtime > begun, "a look of the steward")

    def answer(self) -> None:
        """A day of traffic as the registry has it; later versions are better."""
        state = self.served.registry.desired(MODEL)

        def skill(version: str) -> float:
            return min(0.1 * int(version) - 0.05, 0.45)

        champion = (str(state.champion), skill(str(state.champion)))
        beside = (str(state.challenger), skill(str(state.challenger))) if state.challenger else None
        self.served.answer(
            PAST + self.day * 24 * HOUR,
            400,
            hours=24,
            arrived=NOW + 2 * HOUR,
            champion=champion,
            shadow=beside if state.mode is Mode.SHADOW else None,
            canary=(*beside, state.share) if beside and state.mode is Mode.CANARY else None,
        )
        self.day += 1

    def kill(self) -> None:
        """The steward, or the process of a retraining where there is one."""
        trainings = _processes(TRAINER, str(self.place))
        if trainings and self.random.random() < 0.5:
            os.kill(self.random.choice(trainings), signal.SIGKILL)
            self.kills["retraining"] += 1
            return
        self.begun.kill()
        self.kills["steward"] += 1
        self.start()


def _watches() -> list[str]:
    from tidemill.composition import choices

    return choices("tidemill.steward.watches", "build")


def _processes(*words: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if all(word in line for word in words):
                found.append(int(entry.name))
    return found


@pytest.mark.slow
def test_the_loop_goes_on_and_nothing_is_decided_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    life = Life(tmp_path, seed=0)
    book = Book(life.served.ledger, MODEL)
    end = time.monotonic() + 2 * PATIENCE
    life.start()
    try:
        while Counter(one.kind for one in book.decisions())[Kind.PROMOTE] < PROMOTIONS:
            assert time.monotonic() < end, (tmp_path / "log").read_text()[-3000:]
            life.answer()
            life.wait()
            life.kill()
        life.look()  # it may have been started just now, and listens to no signal yet
        life.begun.terminate()
        assert life.begun.wait(PATIENCE) == 0
    finally:
        life.begun.kill()
        life.begun.wait()
    made = book.decisions()
    assert [one.number for one in made] == list(range(1, len(made) + 1))
    registered = Counter(one.retraining for one in made if one.kind is Kind.RETRAIN)
    concluded = Counter(one.retraining for one in made if one.retraining and one.kind is not Kind.RETRAIN)
    assert set(registered.values()) == {1}
    assert set(concluded.values()) <= {1}
    running = len(registered) - len(concluded)
    versions = len(life.served.registry.versions(MODEL)) - 3
    assert versions in (len(concluded), len(concluded) + running), "each retraining makes one version"
    history = life.served.registry.history(MODEL)
    carried_out = Counter((change.by, change.alias, change.action) for change in history if "steward" in change.by)
    assert set(carried_out.values()) == {1}, "each decision changes the registry once"
    promoted = [one.version for one in made if one.kind is Kind.PROMOTE]
    assert len(promoted) == len(set(promoted))
    assert life.kills["steward"] >= 3
