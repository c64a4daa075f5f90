"""The watcher: keeps what a replica holds as the registry says, off the path of requests.

    registry's desired.json → load what is not held yet, in a thread → check → swap one reference

Whatever cannot be loaded or does not fit is refused by name, and what was held goes on. It knows no Ray and no HTTP;
what a version is, the replica decides: `V` is anything.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from tidemill.bundle.rollout import Alias, Desired, Mode
from tidemill.errors import BundleError, RegistryError, SettingsError
from tidemill.serve.observer import Refused, Swapped
from tidemill.serve.threads import in_thread

log = logging.getLogger("ray.serve")
V = TypeVar("V")
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds before a version is asked for again that could not be reached


@dataclass(frozen=True, kw_only=True, slots=True)
class Held(Generic[V]):
    """What a replica answers with. It is replaced as a whole, so a request that reads it once sees one state.

    mode, share: what the challenger does (off without one) and its share of the requests (0 unless canary).
    generation: of the desired state that was brought about last. serving: false refuses all requests.
    """

    champion: V
    challenger: V | None = None
    mode: Mode = Mode.OFF
    share: float = 0.0
    generation: int = 0
    serving: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A version that could not be taken. again: it is tried again by itself, as what failed may pass."""

    alias: str
    version: str
    error: str
    again: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a replica runs. Versions by alias ("previous" is kept warm for a rollback).

    generation: held; wanted: the newest seen. behind: seconds since the two differ or a version is refused, else 0.
    unread: times that the registry could not be read, in all; error: why not, if that is so now.
    """

    versions: dict[str, str]
    mode: Mode
    share: float
    serving: bool
    generation: int
    wanted: int
    behind: float
    refused: tuple[Refusal, ...]
    unread: int
    error: str | None


class Source(Protocol):
    """What is watched: a `Registry`, or what stands for one."""

    def state_mark(self, model: str) -> str | None: ...

    def desired(self, model: str) -> Desired: ...


class Replica(Protocol[V]):
    """What a watcher asks of its replica. All but `load` are called in the event loop and must be quick."""

    def load(self, version: str) -> V:
        """A checked version, its golden rows replayed; called in a thread. Raises BundleError, RegistryError."""

    def accepts(self, new: V, held: V) -> None:
        """Raises BundleError where `new` cannot answer what `held` is asked."""

    def swap(self, held: Held[V]) -> None:
        """Answer with these from now on."""

    def tell(self, event: Swapped | Refused) -> None:
        """Pass an event to the observers."""


class Watcher(Generic[V]):
    """`await start()`, and the replica follows the registry until `await stop()`. All methods run in one event loop.

    Args:
        seconds: between looks at the registry.
        keep_previous: keep the champion before the present one loaded, so that a rollback needs no loading.
    """

    def __init__(
        self, registry: Source, model: str, replica: Replica[V], *, seconds: float = 0.5, keep_previous: bool = True
    ) -> None:
        self._registry = registry
        self._model = model
        self._replica = replica
        self._seconds = seconds
        self._keep_previous = keep_previous
        self._held: Held[V] | None = None
        self._versions: dict[str, str] = {}
        self._kept: dict[str, V] = {}
        self._loading: dict[str, asyncio.Future[V]] = {}
        self._refused: dict[str, Refusal] = {}
        self._desired = Desired(generation=0)
        self._mark: str | None = None
        self._since = time.monotonic()
        self._unread = 0
        self._error: str | None = None
        self._looking: asyncio.Task[None] | None = None
        self._moving: asyncio.Task[None] | None = None

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def look(self) -> None:
        """Look at the registry now, and begin to follow what it says."""

    async def settled(self) -> None:
        """Wait until what was seen last is brought about or refused."""

    def report(self) -> Report: ...  # type: ignore[empty-body]
