"""Simulated time waits for the steward, and says so when the steward stands still."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tidemill.errors import ReplayError
from tidemill.replay.live import pacing
from tidemill.replay.live.pacing import Pace


class Clock:
    """Time as the pacing sees it: it stands still until the test moves it, from one waiting to the next."""

    def __init__(self) -> None:
        self.now, self.sleeps = 0.0, list[tuple[float, "asyncio.Future[None]"]]()

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self.sleeps.append((self.now + seconds, future))
        await future

    async def finished(self, waiting: "asyncio.Task[None]", seconds: float = 0.15) -> bool:
        """Whether it has ended when so many seconds are over."""
        end = self.now + seconds
        await _turns()
        while self.sleeps and min(self.sleeps)[0] <= end:
            self.now, future = self.sleeps.pop(self.sleeps.index(min(self.sleeps)))
            future.set_result(None)
            await _turns()
        self.now = end
        return waiting.done()


async def _turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pacing, "time", clock)
    monkeypatch.setattr(pacing, "asyncio", clock)
    return clock


LATEST = datetime(2013, 4, 3, 5, 30, tzinfo=UTC)


def pace(file: Path, *, period: float = 24, grace: float = 0, patience: float = 5.0, check: Any = None) -> Pace:
    return Pace(
        file,
        period=timedelta(hours=period),
        grace=timedelta(hours=grace),
        patience=patience,
        check=check or (lambda: None),
    )


def write(file: Path, seen: str, **more: Any) -> None:
    staged = file.with_suffix(".new")
    staged.write_text(json.dumps({"model": "small", "seen_until": seen, **more}))
    staged.replace(file)


@pytest.mark.parametrize(
    ("period", "grace", "not_yet", "enough"),
    [
        (24, 0, "2013-04-02T23:00:00Z", "2013-04-03T00:00:00Z"),
        (1, 0, "2013-04-03T04:00:00Z", "2013-04-03T05:00:00Z"),
        (1, 2, "2013-04-03T02:00:00", "2013-04-03T03:00:00"),  # without an offset: UTC
        (24, 6, "2013-04-01T00:00:00Z", "2013-04-02T00:00:00Z"),
    ],
)
def test_until_the_last_period_that_is_over(
    clock: Clock, tmp_path: Path, period: float, grace: float, not_yet: str, enough: str
) -> None:
    file = tmp_path / "status.json"

    async def main() -> None:
        paced = pace(file, period=period, grace=grace)
        waiting = asyncio.create_task(paced.weighed(LATEST))
        assert not await clock.finished(waiting), "there is no status yet"
        write(file, not_yet)
        assert not await clock.finished(waiting)
        write(file, enough)
        assert not await clock.finished(waiting), "what was decided at this look is done at the next"
        write(file, enough)
        assert await clock.finished(waiting, 2.0)
        assert paced.waited >= 0.3

    asyncio.run(main())


def test_time_stands_still_while_a_retraining_runs(clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / "status.json"

    async def main() -> None:
        write(file, "2013-04-03T00:00:00Z", retraining="r-1")
        waiting = asyncio.create_task(pace(file, patience=0.3).weighed(LATEST))
        for _ in range(5):  # longer than the patience, as the steward is heard of
            assert not await clock.finished(waiting)
            write(file, "2013-04-03T00:00:00Z", retraining="r-1")
        write(file, "2013-04-03T00:00:00Z", champion="1")
        assert not await clock.finished(waiting)
        write(file, "2013-04-03T00:00:00Z", champion="2")
        assert not await clock.finished(waiting), "something has changed between the two"
        write(file, "2013-04-03T00:00:00Z", champion="2")
        assert await clock.finished(waiting, 2.0)

    asyncio.run(main())


def test_replicas_get_a_moment_to_take_up_another_champion(clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / "status.json"

    async def main() -> list[float]:
        waited = []
        paced = pace(file)
        for champion in ("1", "1", "2", "2"):
            write(file, "2013-04-03T00:00:00Z", champion=champion)
            before = paced.waited
            waiting = asyncio.create_task(paced.weighed(LATEST))
            while not await clock.finished(waiting, 0.05):
                write(file, "2013-04-03T00:00:00Z", champion=champion)
            waited.append(paced.waited - before)
            assert paced.champion == champion
        return waited

    waited = asyncio.run(main())
    assert [seconds >= 1.0 for seconds in waited] == [False, False, True, False]


def test_a_steward_that_stands_still(tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    with pytest.raises(ReplayError, match=r"after 0 s there is no .*status\.json"):
        asyncio.run(pace(file, patience=0.1).weighed(LATEST))
    write(file, "2013-04-01T00:00:00Z")
    with pytest.raises(ReplayError, match=r"should reach 2013-04-03 00:00.*--no-wait"):
        asyncio.run(pace(file, patience=0.1).weighed(LATEST))
    write(file, "2013-04-03T00:00:00Z", retraining=3)
    with pytest.raises(ReplayError, match="retraining=3"):
        asyncio.run(pace(file, patience=0.1).weighed(LATEST))


def test_after_the_last_record_until_nothing_happens_any_more(clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / "status.json"

    async def main() -> None:
        waiting = asyncio.create_task(pace(file).settled(30.0))
        for day in (1, 2, 3):
            write(file, f"2013-04-0{day}T00:00:00Z", retraining="r-1" if day == 2 else None)
            assert not await clock.finished(waiting, 1.0)
        assert await clock.finished(waiting, 5.0)
        last = asyncio.create_task(pace(file).settled(0.2))
        assert not await clock.finished(last, 0.19) and await clock.finished(last, 0.03)

    asyncio.run(main())


def test_a_process_that_has_ended_is_not_waited_for(tmp_path: Path) -> None:
    def check() -> None:
        raise ReplayError("The steward runs", observed="it ended", remedy="see its log")

    with pytest.raises(ReplayError, match="it ended"):
        asyncio.run(pace(tmp_path / "status.json", check=check).weighed(LATEST))


def test_a_status_that_nobody_can_read(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text('{"model": 3}')
    with pytest.raises(ReplayError, match="JSON with the keys"):
        asyncio.run(pace(tmp_path / "status.json").weighed(LATEST))


def test_before_a_period_is_over_there_is_nothing_to_wait_for(tmp_path: Path) -> None:
    day = datetime(2013, 4, 1, tzinfo=UTC)
    pace = Pace(
        tmp_path / "status.json",
        period=timedelta(hours=24),
        grace=timedelta(0),
        patience=0.1,
        check=lambda: None,
        since=day,
    )
    asyncio.run(pace.weighed(day + timedelta(hours=23)))
    with pytest.raises(ReplayError):
        asyncio.run(pace.weighed(day + timedelta(hours=25)))
