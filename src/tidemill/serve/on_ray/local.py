"""Serving on this machine: start Ray and Ray Serve, ask for one real prediction, keep serving."""

import atexit
import contextlib
import io
import logging
import math
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidemill.bundle.predictor import Predictor
from tidemill.errors import BundleError, RegistryError, SettingsError
from tidemill.serve.arguments import Arguments
from tidemill.serve.door import isolation
from tidemill.serve.door.endpoints import OWN_SECRET
from tidemill.serve.on_ray import first_answer, ingress, preflight, ray_start, ray_token
from tidemill.stopping import stopped_by_signals

SERVICER = "tidemill.serve.door.inference.servicer.add_GRPCInferenceServiceServicer_to_server"
_NAME = "tidemill"  # of the application
_PATIENCE = 120.0  # seconds
_POLL = 2.0  # seconds between looks at whether the replica is alive
_OBJECT_STORE = 100 * 2**20  # bytes: requests do not pass through it


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where to listen. grpc: port of the gRPC service, None: none. haproxy: see `ingress`; else Ray's own proxy."""

    host: str
    port: int
    grpc: int | None
    haproxy: bool


def run(arguments: Arguments, address: Address, *, until_checked: bool, say: Callable[[str], None]) -> None:
    """Serve until Ctrl-C or SIGTERM, or until the first answer has been verified.

    Raises:
        RegistryError, BundleError, SettingsError: there is nothing that could be served, or no port to serve it on;
            or nothing that could be verified, as the model is unloaded.
    """
    host, port = address.host, address.port
    for number in (port, address.grpc):
        if number is not None:
            _check_port(host, number)
    say(f"Starting Ray Serve for {arguments.model}/{arguments.alias} in {arguments.registry} …")
    with _checked(arguments) as checking, _ray(address, _cpus(arguments), say) as serve, stopped_by_signals() as stop:
        checking[0].result()
        _start(serve, arguments, say)
        url = f"http://{_reachable(host)}:{port}"
        found = first_answer.told(url, arguments, checking.pop().result(), say)
        if until_checked:
            if found is None:
                raise _unloaded(arguments)
            say(found)
            return
        say("\nCtrl-C stops.")
        unhealthy = 0.0
        while not stop.wait(_POLL):
            unhealthy = _check_alive(serve, unhealthy)
        say("Draining …")
        serve.delete(_NAME)  # replicas end what they have in hand; the ingress stays until they have


def _start(serve: Any, arguments: Arguments, say: Callable[[str], None]) -> None:
    """Return when the replica has loaded the bundle. A replica that ends by an error of ours would do so again."""
    from tidemill.serve.on_ray.app import application

    rule = "Ray Serve starts the model"

    def run() -> Exception | None:
        try:
            serve.run(application(arguments), name=_NAME, logging_config=_quiet_logs())
        except RuntimeError as error:
            return error
        return None

    failed = ray_start.started(rule, run, lambda: None, say)
    if failed is not None:
        raise ray_start.failure(rule, failed) from failed


def _unloaded(arguments: Arguments) -> RegistryError:
    rule = "A model answers while its registry says so"
    return RegistryError(rule, observed=f"{arguments.model} is unloaded", remedy=first_answer.load_command(arguments))


def _check_port(host: str, port: int) -> None:
    """Find out now: Ray would only say so in a log file."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # as the server will: old connections may linger
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        raise SettingsError(
            "--host and --port name an address that is free on this machine",
            observed=f"{host}:{port}: {error}",
            remedy=f"choose another port, like --port {port + 1 if port < 65535 else 8001}",
        ) from error


@contextlib.contextmanager
def _checked(arguments: Arguments) -> Iterator[list[Future[Predictor]]]:
    """The bundle is checked while Ray starts. Who takes it out of the list can let go of it: serving needs none."""

    def check() -> Predictor:
        predictor = first_answer.checked(arguments, arguments.alias)
        preflight.columns(arguments, predictor.manifest)
        return predictor

    preflight.check(arguments)
    with ThreadPoolExecutor(1) as thread:
        yield [thread.submit(check)]


@contextlib.contextmanager
def _ray(address: Address, cpus: int, say: Callable[[str], None]) -> Iterator[Any]:
    """Ray and Serve with nothing but what this needs, on this machine's loopback; both end with the block."""
    private = None
    own = {OWN_SECRET: secrets.token_hex(16), isolation.TOKEN: ""}
    os.environ.update(ingress.environment(haproxy=address.haproxy) | ray_token.environment() | own)
    if address.haproxy:
        private = Path(tempfile.mkdtemp(prefix="tidemill-", dir=isolation.temporary_folder()))
        atexit.register(shutil.rmtree, private, ignore_errors=True)
        ports = isolation.ports((address.port, address.grpc or 0))
        os.environ.update(ports | ingress.places(private) | ingress.launcher(private))
    import ray
    from ray import serve

    for name in ("ray.serve", "ray._private.authentication"):
        logging.getLogger(name).setLevel(logging.ERROR)

    def start() -> None:
        ray.init(
            address="local",
            include_dashboard=False,
            num_cpus=cpus,  # what is asked for, even if it is more than there are: the operating system shares them out
            object_store_memory=_OBJECT_STORE,
            configure_logging=True,
            logging_level=logging.ERROR,
            log_to_driver=False,
            _node_ip_address="127.0.0.1",
            job_config=isolation.job(),
            _temp_dir=str(isolation.session_folder()),
        )
        serve.start(
            http_options={"host": address.host, "port": address.port},
            grpc_options={"port": address.grpc, "grpc_servicer_functions": [SERVICER]} if address.grpc else None,
            logging_config=_quiet_logs(),
        )

    def end() -> None:
        with contextlib.redirect_stdout(io.StringIO()):  # Ray prints there that its own controller was stopped
            with contextlib.suppress(Exception):  # what matters then is that Ray itself goes
                serve.shutdown()
            ray.shutdown()
        if private is not None:
            ingress.end_left(private)

    ray_start.started("Ray Serve starts on this machine", start, end, say)
    try:
        yield serve
    finally:
        end()


def _cpus(arguments: Arguments) -> int:
    return math.ceil((arguments.maximum or arguments.replicas) * arguments.cpus) + 1


def _quiet_logs() -> dict[str, Any]:
    return {"log_level": "WARNING", "enable_access_log": False}


def _reachable(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _check_alive(serve: Any, unhealthy: float) -> float:
    """Ray replaces a replica that died; what it cannot mend in `_PATIENCE` seconds ends the server.

    Args:
        unhealthy: for how long the application has been so, seconds; returns the same for now.
    """
    try:
        application = serve.status().applications[_NAME]
        status, message = str(application.status), ray_start.short(application.message)
    except Exception as error:  # Serve's controller does not answer; replicas do so without it
        status, message = "UNHEALTHY", ray_start.line(error)
    unhealthy = unhealthy + _POLL if status == "UNHEALTHY" else 0.0
    if status in ("DEPLOY_FAILED", "NOT_STARTED") or unhealthy > _PATIENCE:
        raise BundleError(
            "A server that has started goes on answering",
            observed=f"{status}: {message}",
            remedy=f"start it again; its log lies under {isolation.session_folder()}/session_latest/logs/serve",
        )
    return unhealthy
