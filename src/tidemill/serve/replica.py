"""A replica, put together: registry → watcher → service → application. Plain asyncio; Ray is in `app.py`."""

import asyncio
import contextlib
import logging
import math
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict

from tidemill.bundle.registry.registry import Alias, Registry
from tidemill.errors import RequestError, TidemillError
from tidemill.ledger.ledger import Ledger
from tidemill.serve.answering import compatibility
from tidemill.serve.answering.active import Active
from tidemill.serve.answering.service import Service
from tidemill.serve.answering.version import Version
from tidemill.serve.answering.watch import Watcher
from tidemill.serve.arguments import Arguments
from tidemill.serve.door import openapi
from tidemill.serve.door.endpoints import UNLOADED, Endpoints
from tidemill.serve.door.http import Application
from tidemill.serve.door.inference.backend import ReplicaBackend
from tidemill.serve.door.keys import Keys
from tidemill.serve.door.traffic import Traffic
from tidemill.serve.hooks import observing
from tidemill.serve.hooks.metrics import Metrics
from tidemill.serve.hooks.observer import Refused, Swapped
from tidemill.serve.hooks.profiling import Profiling
from tidemill.serve.wire.refusals import refused

LOG = logging.getLogger("ray.serve")

REASONS = {
    401: "key",
    403: "scope",
    429: "rate",
    413: "size",
    408: "slow",
    503: "overload",
    504: "deadline",
    422: "rows",
}
"""One word for counting, by HTTP status, where the error has none of its own; others count as "request"."""


class Replica:
    """One process's serving of one model: `await start()`, then `application` answers, then `await stop()`.

    Args:
        name: tells replicas apart in the metrics.
        collect, collect_profiles: from this replica's metrics or profiles to all replicas'; None: there is no other.
    """

    application: Application
    service: Service
    backend: ReplicaBackend

    def __init__(
        self,
        arguments: Arguments,
        name: str,
        collect: Callable[[bytes], Awaitable[bytes]] | None = None,
        collect_profiles: Callable[[bytes], Awaitable[bytes]] | None = None,
    ) -> None:
        self.arguments = arguments
        self.name = name
        self.registry = Registry(arguments.registry)
        self.metrics = Metrics(arguments.model)
        own = [observing.load(spec, **options) for spec, options in arguments.observers.items()]
        hours = arguments.profile_hours
        self.profiling = Profiling(arguments.model, name, hours, arguments.ledger) if hours else None
        built_in = [self.metrics.observer, *([self.profiling] if self.profiling else [])]
        self._observers = observing.Observers([*built_in, *own])
        self._ledger = Ledger(arguments.ledger, arguments.model)
        self._keys = Keys(arguments.keys) if arguments.keys else None
        self._collect, self._collect_profiles = collect, collect_profiles
        self._watcher: Watcher | None = None
        self._described: tuple[str, bytes] | None = None

    async def start(self) -> None:
        """Load what the registry says, and begin to follow it.

        Raises:
            RegistryError, BundleError, SettingsError: there is nothing that can be served.
        """
        arguments = self.arguments
        if arguments.alias != Alias.CHAMPION:
            number = self.registry.resolve(arguments.model, arguments.alias)
            self.swap(Active(champion=await asyncio.to_thread(self.load, number)))
        else:
            self._watcher = Watcher(self.registry, arguments.model, self, seconds=arguments.watch_seconds)
            await self._watcher.start()
        self._watch_metrics()
        if self._keys:
            self._keys.follow()
        profiles = self._profiles if self.profiling else None
        own = Endpoints(self.service, arguments.limits, self._scrape, self.report, self._document, profiles)
        self._traffic = Traffic(self.metrics, self.service.admit, self._refused, arguments.limits.held)
        self.backend = ReplicaBackend(
            arguments.model, lambda: self.service, self._keys, self, self._traffic, here=arguments.here
        )
        table, more = own.table, self.backend.find
        self.application = Application(
            lambda path: table.get(path) or more(path),
            arguments.limits,
            self._keys,
            self._traffic,
            arguments.hosts if arguments.here else None,
        )

    async def stop(self) -> None:
        """End what is in hand, and ship what the ledger holds."""
        if self._watcher:
            await self._watcher.stop()
        if self._keys:
            self._keys.close()
        with contextlib.suppress(AttributeError):  # it never started
            await self.service.close()
        await asyncio.to_thread(self._ledger.close)
        self._observers.close()

    def load(self, version: str) -> Version:
        """A checked version of the model, its golden rows replayed."""
        arguments = self.arguments
        with self.registry.fetched(arguments.model, version, verify=False) as folder:
            loaded = Version(
                folder,
                threads=arguments.threads or max(1, math.floor(arguments.cpus)),
                provider=arguments.provider,
                public_key=arguments.public_key,
                limits=arguments.limits,
            )
        compatibility.check_identity(loaded.predictor.manifest, arguments.model, version)
        if self.profiling:
            self.profiling.add_version(loaded.predictor.manifest, loaded.predictor.profile)
        return loaded

    def accepts(self, new: Version, champion: Version) -> None:
        """Raises BundleError where `new` cannot answer what clients of `champion` ask."""
        compatibility.check(new.predictor.manifest, champion.predictor.manifest)

    def swap(self, active: Active) -> None:
        """Answer with these from now on."""
        if hasattr(self, "service"):
            self.service.active = active
        else:
            self.service = Service(active, self._ledger, self.metrics, self._observers, self.arguments.queues)

    def tell(self, event: Swapped | Refused) -> None:
        """Pass an event to the observers."""
        self._observers.emit(event)

    async def serve(self, serving: bool) -> None:
        """Load or unload the model, in all replicas: by the registry, which is then looked at at once.

        Raises:
            RequestError: 409, a version is served; 503, the registry cannot be written from here.
        """
        if self._watcher is None:
            rule = "A model is loaded and unloaded where its champion is served"
            raise refused(409, rule, f"version {self.arguments.alias} is", "serve the alias champion")
        model = self.arguments.model
        try:
            await asyncio.to_thread(self.registry.set_serving, model, serving, by="the protocol", reason="asked for")
        except TidemillError as error:
            raise refused(503, error.rule, error.observed, error.remedy) from error
        await self._watcher.look()
        await self._watcher.settled()

    def check(self) -> None:
        """Raise when this replica should be replaced: nothing was loaded. A full disk would be full for another one."""
        if not hasattr(self, "service"):
            raise RuntimeError("nothing was loaded")

    @property
    def ongoing(self) -> int:
        """Requests in hand, running or waiting, by HTTP and gRPC."""
        return self._traffic.ongoing

    def report(self) -> Mapping[str, object]:
        """What /health says."""
        active = self.service.active
        model = {"model": self.arguments.model, "version": active.champion.number}
        status = UNLOADED if not active.serving else "ledger refuses" if self._ledger.refuses else "ok"
        rollout: dict[str, object] = {"replica": self.name, "process": os.getpid()}
        if self._watcher:
            rollout |= {name: getattr(active, name) for name in ("mode", "share", "serving", "generation")}
            rollout |= asdict(self._watcher.report())
        return {"status": status, **model, "rollout": rollout}

    def _document(self) -> bytes:
        champion = self.service.active.champion
        if self._described is None or self._described[0] != champion.number:
            document = openapi.document(champion.predictor, keys=self._keys is not None)
            self._described = (champion.number, document)
        return self._described[1]

    async def _scrape(self) -> bytes:
        text = await asyncio.to_thread(self.metrics.text)
        return await self._collect(text) if self._collect else text

    async def _profiles(self) -> bytes:
        assert self.profiling is not None
        document = await asyncio.to_thread(self.profiling.snapshot)
        return await self._collect_profiles(document) if self._collect_profiles else document

    def _refused(self, error: RequestError) -> None:
        reason = error.reason or REASONS.get(error.status, "request")
        self._observers.emit(Refused("request", reason, error.status, str(error)))

    def _watch_metrics(self) -> None:
        service, ledger, observers = self.service, self._ledger, self._observers
        watch = self.metrics.watch
        watch("queue_rows", lambda: service.waiting)
        watch("queue_requests", lambda: self.ongoing)
        watch("versions", lambda: {name: version.number for name, version in service.versions.items()})
        watch("shadow_lag", lambda: service.shadow.lag)
        watch("shadow_rows", lambda: service.shadow.rows)
        watch("ledger_lag", lambda: ledger.lag().seconds)
        watch("ledger_lost", lambda: ledger.lost)
        watch("ledger_failures", lambda: ledger.failures)
        watch("observer_failures", lambda: observers.failures)
        watch("observer_dropped", lambda: observers.dropped)
        if profiling := self.profiling:
            watch("categories", lambda: dict(profiling.categories))
            watch("unseen", lambda: dict(profiling.unseen))
