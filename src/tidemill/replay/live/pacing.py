"""Pacing: simulated time waits for the steward, so that what happens does not depend on how quick a machine is.

A status is written at the end of a look at the ledger, and what was decided at that look is done at the next. So it
takes two of them that say the same until there is nothing left to do.
"""

import asyncio
import os
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from tidemill.errors import ReplayError
from tidemill.moments import EPOCH, aware, floor

STATUS = "status.json"
_POLL = 0.02  # seconds between looks at the status
_TAKEN_UP = 1.0  # seconds for replicas to take up what was decided, beside their own `watch_seconds`
_QUIET = 100  # looks without news, after which nothing more is awaited


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What the steward says after each pass over the ledger, at `<ledger>/<model>/steward/status.json`.

    seen_until: traffic of periods up to there is weighed. labelled_until: and labels up to there.
    retraining: the name of one that runs. stage: what the challenger does, for people.
    """

    model: str
    seen_until: datetime | None = None
    labelled_until: datetime | None = None
    retraining: str | int | None = None
    champion: str | None = None
    challenger: str | None = None
    stage: str | None = None

    @property
    def standing(self) -> tuple[str | None, ...]:
        """Who answers: replicas must take it up when it changes."""
        return self.champion, self.challenger, self.stage


def read(file: Path) -> tuple[Status | None, int]:
    """The status, and when it was written (a mark that each writing changes). None: there is none yet."""
    try:
        with file.open("rb") as stream:  # of one and the same file, though another may take its place meanwhile
            return msgspec.json.decode(stream.read(), type=Status), os.fstat(stream.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None, 0
    except msgspec.MsgspecError as error:
        raise ReplayError(
            "The steward's status is JSON with the keys of tidemill.replay.pacing.Status",
            observed=f"{file}: {error}",
            remedy="let the steward and the replay be of the same release",
        ) from error


class Pace:
    """Waits until the steward has weighed what was sent, and while a retraining runs.

    Args:
        file: of the steward's status.
        period, grace: of its policy: a period is over when rows so much later have come.
        patience: seconds in which it must move on; a retraining may last as long as the steward still says so.
        check: raises where a process that takes part has ended.
        since: when time begins; before a period of it is over, there is nothing to wait for.
    """

    def __init__(
        self,
        file: Path,
        *,
        period: timedelta,
        grace: timedelta,
        patience: float,
        check: Callable[[], None],
        since: datetime = EPOCH,
    ) -> None:
        self.waited = 0.0
        """Seconds, in all."""
        self._file, self._period, self._grace = file, period, grace
        self._patience, self._check, self._since = patience, check, since
        self._standing: tuple[str | None, ...] | None = None

    @property
    def champion(self) -> str | None:
        """At the end of the last wait."""
        return self._standing[0] if self._standing else None

    async def weighed(self, latest: datetime) -> None:
        """Return when every period is weighed that is over at `latest`, the moment of the newest record.

        Raises:
            ReplayError: the steward stands still.
        """
        begun = time.monotonic()
        wanted = self._over(latest)
        if wanted <= self._since:
            return
        moved = begun
        last: tuple[datetime | None, int | None] | None = None
        once: tuple[int, tuple[str | None, ...]] | None = None
        while True:
            self._check()
            status, written = read(self._file)
            now = time.monotonic()
            if status is not None and _has_weighed(status, wanted):
                if once is None or once[1] != status.standing:
                    once = written, status.standing
                if once[0] != written:
                    break
            else:
                once = None
            if status is not None:
                sign = status.seen_until, written if once or status.retraining is not None else None
                if sign != last:
                    moved, last = now, sign
            if now - moved > self._patience:
                raise self._still(status, wanted)
            await asyncio.sleep(_POLL)
        if self._standing is not None and self._standing != status.standing:
            await asyncio.sleep(_TAKEN_UP)
        self._standing = status.standing
        self.waited += time.monotonic() - begun

    async def settled(self, seconds: float) -> None:
        """After the last record: return when the steward has nothing more to do, or after so many seconds.

        The last period is never over, as nothing later comes.
        """
        begun = time.monotonic()
        end, quiet, last = begun + seconds, 0, None
        while time.monotonic() < end and quiet < _QUIET:
            self._check()
            status, _ = read(self._file)
            sign = status and (status.standing, status.seen_until, status.labelled_until)
            running = status is not None and status.retraining is not None
            if running:
                end = time.monotonic() + seconds
            quiet = 0 if running or sign != last else quiet + 1
            last = sign
            await asyncio.sleep(_POLL)
        self.waited += time.monotonic() - begun

    def _over(self, latest: datetime) -> datetime:
        """The end of the last period that is over."""
        return floor(latest - self._grace, self._period)

    def _still(self, status: Status | None, wanted: datetime) -> ReplayError:
        return ReplayError(
            "The steward weighs each period soon after it is over",
            observed=f"for {self._patience:.0f} s it stands at {status} and should reach {wanted:%Y-%m-%d %H:%M}"
            if status
            else f"after {self._patience:.0f} s there is no {self._file}",
            remedy="see its log in the replay's folder; --no-wait lets time run on without it",
        )


def _has_weighed(status: Status, wanted: datetime) -> bool:
    return status.retraining is None and status.seen_until is not None and aware(status.seen_until) >= wanted
