"""The watcher: keeps what a replica holds as the registry says, off the path of requests.

    registry's desired.json → load what is not active yet, in a thread → check → swap one reference

Whatever cannot be loaded or does not fit is refused by name, and what was active goes on. It knows no Ray and no HTTP.
"""

import asyncio
import contextlib
import logging
import time

from tidemill.bundle.registry.registry import Registry
from tidemill.bundle.registry.rollout import Alias, Desired, Mode
from tidemill.errors import RegistryError, TidemillError
from tidemill.serve.answering.active import Active, Refusal, Replica, Report
from tidemill.serve.answering.threads import in_thread
from tidemill.serve.answering.version import Version
from tidemill.serve.hooks.observer import Refused, Swapped

LOG = logging.getLogger("ray.serve")
_ROLES = (Alias.CHAMPION, Alias.CHALLENGER)
_PREVIOUS = "previous"
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds before a version is asked for again that could not be reached


class Watcher:
    """`await start()`, and the replica follows the registry until `await stop()`. All methods run in one event loop.

    Args:
        seconds: between looks at the registry.
    """

    def __init__(self, registry: Registry, model: str, replica: Replica, *, seconds: float = 0.5) -> None:
        self._registry = registry
        self._model = model
        self._replica = replica
        self._seconds = seconds
        self._active: Active
        self._versions: dict[str, str] = {}
        self._kept: dict[str, Version] = {}
        self._loading: dict[str, asyncio.Future[Version]] = {}
        self._refused: dict[str, Refusal] = {}
        self._unfit: set[str] = set()
        self._desired = Desired(generation=0)
        self._seen = self._abreast = time.monotonic()
        self._mark: str | None = None
        self._unread = 0
        self._error: str | None = None
        self._secret = b""
        self._turn = asyncio.Lock()
        self._passed = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._moving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load the champion (or, where it is refused, one before it), and follow; a challenger is not waited for.

        Raises:
            BundleError, SettingsError, SchemaError: none of them can be used.
            RegistryError: the registry cannot be read, or has no champion of this model.
        """
        self._desired, self._mark = await self._read()
        begun = time.monotonic()
        version, champion = await self._first(self._desired)
        self._kept, self._versions = {version: champion}, {Alias.CHAMPION: version}
        self._active = Active(champion=champion, serving=self._desired.serving)
        self._replica.swap(self._active)
        self._replica.tell(Swapped(Alias.CHAMPION, None, version, time.monotonic() - begun))
        self._moving = asyncio.create_task(self._move(self._desired))
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Follow no longer. What is active stays active; what is being loaded is discarded."""
        tasks = [task for task in (self._watching, self._moving) if task is not None]
        for task in tasks:
            task.cancel()
        for load in self._loading.values():
            load.cancel()
        self._loading.clear()
        self._passed.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def look(self) -> None:
        """Look at the registry now, and begin to follow what it says."""
        async with self._turn:
            try:
                if self._mark == await in_thread(self._registry.state_mark, self._model):
                    self._readable()
                    return
                desired, mark = await self._read()
            except Exception as error:  # whatever it is, what is active goes on
                self._unreadable(error)
                return
            self._mark = mark
            if desired != self._desired or self._refused:
                self._begin(desired)
            self._readable()

    async def settled(self) -> None:
        """Wait until what was seen last is brought about or refused, for good or for now."""
        await self._passed.wait()

    def report(self) -> Report:
        return Report(
            versions=dict(self._versions),
            wanted=self._desired.generation,
            behind=time.monotonic() - self._abreast,
            refused=tuple(self._refused.values()),
            unread=self._unread,
            error=self._error,
        )

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            await self.look()

    async def _read(self) -> tuple[Desired, str | None]:
        """The mark is taken first: a change in between is then seen by the next look."""
        mark = await in_thread(self._registry.state_mark, self._model)
        desired = await in_thread(self._registry.desired, self._model)
        if desired.champion is None:
            raise RegistryError(
                "A model that is served has a champion",
                observed=f"{self._model} has none in its registry",
                remedy=f"name one: tidemill registry promote {self._model} VERSION",
            )
        if desired.mode is Mode.CANARY:
            self._secret = await in_thread(self._registry.toss_secret, self._model)
        return desired, mark

    def _readable(self) -> None:
        if self._error is not None:
            LOG.info("The registry can be read again")
            self._error = None
        if self._active.generation == self._desired.generation and not self._refused:
            self._abreast = time.monotonic()

    def _unreadable(self, error: Exception) -> None:
        self._unread += 1
        if self._error != str(error):
            self._error = str(error)
            LOG.error("The registry cannot be read; what is active goes on. %s", self._error)

    async def _first(self, desired: Desired) -> tuple[str, Version]:
        """The champion, or the newest one before it that can be loaded; whether it fits, nobody tells a new replica."""
        champion = str(desired.champion)
        try:
            return champion, await self._loaded(champion)
        except RegistryError:
            raise
        except TidemillError as error:
            self._refuse(Alias.CHAMPION, champion, error)
            for earlier in await in_thread(self._registry.champions, self._model):
                if earlier != champion:
                    with contextlib.suppress(TidemillError):
                        return earlier, await self._loaded(earlier)
            raise

    def _loaded(self, version: str) -> "asyncio.Future[Version]":
        return in_thread(self._replica.load, version)

    def _begin(self, desired: Desired) -> None:
        """Follow a new state in place of the one before, finished or not."""
        self._desired, self._seen = desired, time.monotonic()
        self._refused.clear()
        self._passed.clear()
        for version in self._loading.keys() - _wanted(desired).values():
            self._loading.pop(version).cancel()
        if self._moving is not None:
            self._moving.cancel()
        self._moving = asyncio.create_task(self._move(desired))

    async def _move(self, desired: Desired) -> None:
        """Take at once what is there already, then what must be loaded; ask again for what could not be reached."""
        pause = _FIRST_PAUSE
        while True:
            try:
                self._take(desired)
                for alias, version in self._open(desired, self._versions).items():
                    await self._load(alias, version)
                    self._take(desired)
            except Exception:
                LOG.exception("What the registry says could not be brought about; it is tried again")
            self._passed.set()
            if self._active.generation == desired.generation:
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _load(self, alias: str, version: str) -> None:
        """Keep a version, or the reason why not. A load that was begun for an earlier state goes on for this one."""
        if version not in self._loading:
            self._loading[version] = self._loaded(version)
        try:
            self._kept[version] = await asyncio.shield(self._loading[version])
            self._refused.pop(alias, None)
        except Exception as error:
            self._refuse(alias, version, error)
        self._loading.pop(version, None)

    def _take(self, desired: Desired) -> None:
        """Hold what is loaded of what is desired, by one swap."""
        active, kept, versions = self._active, self._kept, dict(self._versions)
        wanted = _wanted(desired)
        champion = wanted[Alias.CHAMPION]
        before = versions[Alias.CHAMPION]
        if champion != before and self._fits(Alias.CHAMPION, champion, before, desired.rolled_back):
            self._unfit.discard(champion)
            versions |= {Alias.CHAMPION: champion, _PREVIOUS: before}
        if not desired.serving:
            versions.pop(_PREVIOUS, None)
        champion, challenger = versions[Alias.CHAMPION], wanted.get(Alias.CHALLENGER)
        versions.pop(Alias.CHALLENGER, None)
        if challenger not in (None, champion) and self._fits(Alias.CHALLENGER, str(challenger), champion):
            versions[Alias.CHALLENGER] = str(challenger)
        beside = versions.get(Alias.CHALLENGER)
        after = Active(
            champion=kept[champion],
            challenger=None if beside is None else kept[beside],
            mode=Mode.OFF if beside is None else desired.mode,
            share=0.0 if beside is None else desired.share,
            generation=active.generation if self._open(desired, versions) else desired.generation,
            serving=desired.serving,
            secret=self._secret,
        )
        told = self._versions
        if any(told.get(alias) != versions.get(alias) for alias in _ROLES) or _rest(after) != _rest(active):
            self._replica.swap(after)
        self._active, self._versions = after, versions
        self._kept = {version: kept[version] for version in versions.values()}
        for alias in _ROLES:
            old, new = told.get(alias), versions.get(alias)
            if old != new:
                self._replica.tell(Swapped(alias, old, new, time.monotonic() - self._seen))

    def _open(self, desired: Desired, versions: dict[str, str]) -> dict[str, str]:
        """Versions by alias that are neither in `versions` nor refused for good; a champion challenges nobody."""
        final = {alias for alias, refusal in self._refused.items() if not refusal.again}
        return {
            alias: version
            for alias, version in _wanted(desired).items()
            if version not in (versions.get(alias), versions[Alias.CHAMPION]) and alias not in final
        }

    def _fits(self, alias: str, version: str, champion: str, known: bool = False) -> bool:
        """Whether a version is there and may be taken beside or after `champion`.

        known: it has been champion, so it has served, unless it was refused here.
        """
        if version not in self._kept or alias in self._refused:
            return False
        try:
            if not known or version in self._unfit:
                self._replica.accepts(self._kept[version], self._kept[champion])
        except Exception as error:
            self._unfit.add(version)
            self._refuse(alias, version, error)
            return False
        return True

    def _refuse(self, alias: str, version: str, error: Exception) -> None:
        again = isinstance(error, RegistryError) or not isinstance(error, TidemillError)
        why = str(error)  # the error itself would keep what its traceback sees, and a log may keep the error
        refusal = Refusal(alias=alias, version=version, error=why, again=again)
        if self._refused.get(alias) != refusal:
            LOG.error("%s %s/%s is refused. %s", alias, self._model, version, why)
            reason = "unreachable" if again else "bundle"
            self._replica.tell(Refused(f"{self._model}/{version}", reason, error=why))
        self._refused[alias] = refusal


def _wanted(desired: Desired) -> dict[str, str]:
    """Versions to answer with, by alias: a challenger only while it has something to do."""
    versions: dict[str, str] = {Alias.CHAMPION: str(desired.champion)}
    if desired.challenger is not None and desired.mode is not Mode.OFF and desired.serving:
        versions[Alias.CHALLENGER] = desired.challenger
    return versions


def _rest(active: Active) -> tuple[Mode, float, int, bool]:
    return active.mode, active.share, active.generation, active.serving
