"""The steward as a Ray Serve application: a thin wrapper, for clusters where nothing else may keep a process running.

serving/config.yaml has it beside the server; `GET /steward` tells those who have a key how far it is. Ray starts it
again when it dies, and what it did goes on: see steward.py.
"""

import asyncio
import logging
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ray import serve

from tidemill import composition
from tidemill.errors import RequestError
from tidemill.ledger.settings import LedgerSettings
from tidemill.secrets import hidden
from tidemill.serve.door.http import Application, Endpoint, Incoming
from tidemill.serve.door.keys import Keys, Scope
from tidemill.serve.door.traffic import Traffic
from tidemill.serve.hooks.metrics import Metrics
from tidemill.serve.on_ray import ingress
from tidemill.serve.wire.refusals import Limits, refused
from tidemill.serve.wire.request import Reply
from tidemill.steward import policy, status
from tidemill.steward.steward import Office, Steward

LOG = logging.getLogger("ray.serve")


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """registry, model, ledger: as the server has them; policy: a YAML file that every node can read; work: a folder for
    retrainings, which outlives the pod. keys: file of API keys, the server's; without it nobody is answered."""

    registry: str
    model: str
    ledger: LedgerSettings
    policy: Path | None = None
    work: Path = Path("outputs/steward")
    keys: Path | None = None

    def __repr__(self) -> str:
        return f"Arguments({hidden(asdict(self))})"


_ALONE = {"num_cpus": 0, "runtime_env": {"env_vars": {"OPENBLAS_NUM_THREADS": "1"}}}


def application(arguments: Arguments, keys: Keys | None) -> Application:
    """What answers by HTTP, on whichever path: how far the steward is, to those who have a key for metrics."""

    async def tell(request: Incoming) -> Reply:
        if keys is None:
            remedy = "set `keys` of the steward's `args`, as the server has it; or run `tidemill steward status`"
            raise refused(403, "The steward tells those who have a key how far it is", "it has no keys", remedy)
        content = await asyncio.to_thread(status.read, arguments.ledger, arguments.model)
        return Reply(content or b"{}")

    endpoint = Endpoint(tell, ("GET",), Scope.METRICS, label="The steward")
    traffic = Traffic(Metrics(arguments.model), lambda requests: None, _unanswered, Limits().held)
    return Application(lambda path: endpoint, Limits(), keys, traffic)


def _unanswered(error: RequestError) -> None:
    LOG.info("A request was refused: %s", error)


class Deployed:
    """One steward, on a thread of its own."""

    def __init__(self, arguments: Arguments) -> None:
        self._keys = None if arguments.keys is None else Keys(arguments.keys)
        self._application = application(arguments, self._keys)
        work = (arguments.work / arguments.model).absolute()
        office = Office(registry=arguments.registry, model=arguments.model, ledger=arguments.ledger, work=work)
        self._steward = Steward(office, policy.read(arguments.policy))
        self._ended = threading.Event()
        if self._keys is None:
            LOG.warning("GET of the steward answers nobody, as it has no file of API keys: set `keys` of its `args`")
        else:
            self._keys.follow()
        self._thread = threading.Thread(target=self._steward.run, args=(self._ended,), name="steward", daemon=True)
        self._thread.start()

    def check_health(self) -> None:
        """Raise when it should be started again."""
        if not self._thread.is_alive():
            raise RuntimeError("the steward's thread has ended")

    def __serve_build_asgi_app__(self) -> Any:
        ingress.application = self._application
        return self._application

    def __del__(self) -> None:
        self._ended.set()
        self._thread.join(10)
        if self._keys is not None:
            self._keys.close()
        self._steward.close()


def build(args: dict[str, Any]) -> serve.Application:
    """The application, as the `import_path` of a Serve config names it; `args`: the keys of `Arguments`.

    Raises:
        SettingsError: an unknown key, a wrong type, a value out of range; names all of them.
    """
    arguments = composition.build(Arguments, args, shown="serving/config.yaml has the steward's `args`")
    deployment = serve.deployment(serve.ingress()(Deployed), name="steward", num_replicas=1, ray_actor_options=_ALONE)
    bound: serve.Application = deployment.bind(arguments)
    return bound
