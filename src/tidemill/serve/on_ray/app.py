"""The Ray Serve application: a thin wrapper around `Replica`.

Run it with `tidemill serve`, or by `serving/config.yaml` on a cluster:

    import_path: tidemill.serve.on_ray.app:build
"""

import gc
import sys
from dataclasses import replace
from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy

from tidemill.bundle.registry.registry import Alias, Registry
from tidemill.serve.arguments import Arguments, parse
from tidemill.serve.door.inference.servicer import Servicer
from tidemill.serve.hooks import profiling
from tidemill.serve.on_ray import ingress, scaling
from tidemill.serve.on_ray.collection import Collection
from tidemill.serve.replica import Replica

_TURN = 0.0005
"""Seconds that a thread may hold the interpreter: what loads a bundle beside the event loop must not hold it up."""
_PROFILES = 5.0  # seconds between two tellings of profiles, which are larger than metrics
_GRACE = 30.0  # seconds, besides draining, until a replica that does not end is ended


class Server(Servicer):
    """One replica. Its HTTP application is reached through Ray (plain proxy) or at the door (see `ingress`)."""

    async def __init__(self, arguments: Arguments) -> None:  # type: ignore[misc]  # Ray awaits it
        sys.setswitchinterval(_TURN)
        gc.freeze()  # what is imported stays: to look through it for garbage held up answers for 86 ms
        context = serve.get_replica_context()
        name = context.replica_id.unique_id
        alone = (arguments.maximum or arguments.replicas) == 1
        together = f"{context.app_name}-{context.deployment}"
        metrics = None if alone else Collection(name, together)
        profiles = None if alone else Collection(name, f"{together}-profiles", _PROFILES, profiling.merged)
        self._collections = [one for one in (metrics, profiles) if one]
        self._replica = Replica(
            arguments, name, metrics.collect if metrics else None, profiles.collect if profiles else None
        )
        await self._replica.start()
        if metrics:
            metrics.start(self._replica.metrics.text)
        if profiles and self._replica.profiling:
            profiles.start(self._replica.profiling.snapshot)
        self.service = self._replica.backend

    def __serve_build_asgi_app__(self) -> Any:
        ingress.application = self._replica.application
        return self._replica.application

    async def check_health(self) -> None:
        """Raise when the replica should be replaced."""
        self._replica.check()

    def record_autoscaling_stats(self) -> dict[str, float]:
        return {scaling.METRIC: float(self._replica.ongoing)}

    async def __del__(self) -> None:
        for collection in self._collections:
            await collection.stop()
        await self._replica.stop()


def build(args: dict[str, Any]) -> serve.Application:
    """The application, as the `import_path` of a Serve config names it; `args`: the keys of `Arguments`."""
    return application(parse(args))


def application(args: Arguments) -> serve.Application:
    if args.alias != Alias.CHAMPION:  # looked up once: another alias is followed by nobody, and replicas come and go
        args = replace(args, alias=Registry(args.registry).resolve(args.model, args.alias))
    options: dict[str, Any] = {"num_replicas": args.replicas}
    if args.maximum:
        policy = AutoscalingPolicy(policy_function="tidemill.serve.on_ray.scaling:by_queue")
        options = {
            "autoscaling_config": AutoscalingConfig(
                min_replicas=args.replicas, max_replicas=args.maximum, policy=policy
            )
        }
    deployment = serve.deployment(
        serve.ingress()(Server),
        name=args.model,
        max_ongoing_requests=1_000_000,  # the queue is ours: see `Queues`
        max_constructor_retry_count=1,
        health_check_period_s=1,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=args.drain_seconds + _GRACE,
        ray_actor_options={"num_cpus": args.cpus, "num_gpus": 0 if args.provider == "cpu" else 1},
        **options,
    )
    bound: serve.Application = deployment.bind(args)
    return bound
