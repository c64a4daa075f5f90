"""The steward as a Ray Serve application: a thin wrapper, for clusters where nothing else may keep a process running.

serving/config.yaml has it beside the server; `GET /steward` tells how far it is. Ray starts it again when it dies, and
what it did goes on: see steward.py.
"""

import asyncio
import threading
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from ray import serve
from starlette.responses import Response

from tidemill.ledger.settings import LedgerSettings
from tidemill.steward import policy, status
from tidemill.steward.steward import Office, Steward


class Arguments(BaseModel):
    """registry, model, ledger: as the server has them; policy: a YAML file that every node can read; work: a folder for
    retrainings, which outlives the pod."""

    model_config = ConfigDict(extra="forbid")

    registry: str
    model: str
    ledger: LedgerSettings
    policy: Path | None = None
    work: Path = Path("outputs/steward")


_ALONE = {"num_cpus": 0, "runtime_env": {"env_vars": {"OPENBLAS_NUM_THREADS": "1"}}}


@serve.deployment(name="steward", num_replicas=1, ray_actor_options=_ALONE)
class Deployed:
    """One steward, on a thread of its own."""

    def __init__(self, arguments: Arguments) -> None:
        office = Office(
            registry=arguments.registry,
            model=arguments.model,
            ledger=arguments.ledger,
            work=(arguments.work / arguments.model).absolute(),
        )
        self._office = office
        self._steward = Steward(office, policy.read(arguments.policy))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._steward.run, args=(self._ended,), name="steward", daemon=True)
        self._thread.start()

    def check_health(self) -> None:
        """Raise when it should be started again."""
        if not self._thread.is_alive():
            raise RuntimeError("the steward's thread has ended")

    async def __call__(self, request: Any) -> Response:
        content = await asyncio.to_thread(status.read, self._office.ledger, self._office.model)
        return Response(content or b"{}", media_type="application/json")

    def __del__(self) -> None:
        self._ended.set()
        self._thread.join(10)
        self._steward.close()


def build(args: Arguments) -> serve.Application:
    """The application, for `serve.run` or the `import_path` of a Serve config."""
    application: Any = Deployed.bind(args)  # type: ignore[attr-defined]
    return application
