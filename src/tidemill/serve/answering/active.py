"""What a replica holds, and the words between it and its watcher."""

from dataclasses import dataclass, field
from typing import Protocol

from tidemill.bundle.registry.rollout import Mode
from tidemill.serve.answering.version import Version
from tidemill.serve.hooks.observer import Refused, Swapped


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Active:
    """What a replica answers with. It is replaced as a whole, so a request that reads it once sees one state.

    mode, share: what the challenger does (off without one) and its share of the requests (0 unless canary).
    generation: of the desired state that was brought about last. serving: false refuses all requests.
    secret: of a canary's tosses, see canary.py.
    """

    champion: Version
    challenger: Version | None = None
    mode: Mode = Mode.OFF
    share: float = 0.0
    generation: int = 0
    serving: bool = True
    secret: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A version that could not be taken. again: it is tried again by itself, as what failed may pass."""

    alias: str
    version: str
    error: str
    again: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """How a replica follows its registry. Versions by alias ("previous" is kept warm for a rollback).

    wanted: the newest generation seen. behind: seconds since a look found all as the registry says.
    unread: times that the registry could not be read, in all; error: why not, if that is so now.
    """

    versions: dict[str, str]
    wanted: int
    behind: float
    refused: tuple[Refusal, ...]
    unread: int
    error: str | None


class Replica(Protocol):
    """What a watcher asks of its replica. All but `load` are called in the event loop and must be quick."""

    def load(self, version: str) -> Version:
        """A checked version, its golden rows replayed; called in a thread. Raises BundleError, RegistryError."""

    def accepts(self, new: Version, champion: Version) -> None:
        """Raises BundleError where `new` cannot answer what `champion` is asked."""

    def swap(self, active: Active) -> None:
        """Answer with these from now on."""

    def tell(self, event: Swapped | Refused) -> None:
        """Pass an event to the observers."""
