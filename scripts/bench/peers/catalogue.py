"""The peers of serving.py: what is installed for each, how it is started, and how the same request looks to it."""

import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from parts.servers import ServerError
from parts.small_model import Rows, records_body, rows_body, tensors_body

HERE = Path(__file__).parent
ONNXRUNTIME = "onnxruntime==1.*"
INSTALL = 1800.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One server to compare with. file: in this folder, started with PLAN.json and a port, unless `command` is given.

    Args:
        title: how the table calls it.
        command: program of its environment and arguments, `{port}` filled in; the plan lies in the variable PLAN.
    """

    title: str
    packages: tuple[str, ...]
    file: str
    path: str = "/predict"
    body: Callable[[Rows], bytes] = rows_body
    command: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, place: Path, plan: Path, port: int) -> list[str]:
        if self.command:
            program, *arguments = self.command
            return [str(place / "bin" / program), *(each.format(port=port) for each in arguments)]
        return [str(place / "bin" / "python"), str(HERE / self.file), str(plan), str(port)]


def _two_dimensions(rows: Rows) -> bytes:
    return tensors_body(rows, two_dimensions=True)


# Triton's Python backend links libpython by name; what is found must be of the Python that runs the rest of it.
_LIBPYTHON = {"LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR"))}
_INFER = "/v2/models/small/infer"

PEERS = {
    "bare": Peer(title="bare uvicorn", packages=("uvicorn", "uvloop", "httptools", "orjson"), file="bare.py"),
    "triton": Peer(
        title="Triton 2.51, Python backend",
        packages=("nvidia-pytriton==0.5.14",),
        file="triton_backend.py",
        path=_INFER,
        body=_two_dimensions,
        environment=_LIBPYTHON,
    ),
    "mlserver": Peer(
        title="MLServer, in process", packages=("mlserver",), file="mlserver_runtime.py", path=_INFER, body=tensors_body
    ),
    "litserve": Peer(title="LitServe", packages=("litserve",), file="litserve_api.py"),
    "bentoml": Peer(
        title="BentoML",
        packages=("bentoml",),
        file="bentoml_service.py",
        command=("bentoml", "serve", "bentoml_service:Small", "--host", "127.0.0.1", "--port", "{port}"),
        environment={"BENTOML_DO_NOT_TRACK": "true"},
    ),
    "mlflow": Peer(
        title="MLflow models serve",
        packages=("mlflow", "pandas"),
        file="mlflow_pyfunc.py",
        path="/invocations",
        body=records_body,
    ),
    "ray": Peer(title="Ray Serve, defaults", packages=("ray[serve]==2.60.*",), file="ray_plain.py"),
}


def installed(place: Path) -> bool:
    return (place / "installed").exists()


def install(peer: Peer, place: Path) -> None:
    """Make the peer's virtual environment, unless it is there.

    Raises:
        ServerError: it cannot be installed.
    """
    if installed(place):
        return
    steps = [
        [sys.executable, "-m", "venv", "--clear", str(place)],
        [str(place / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", ONNXRUNTIME, *peer.packages],
    ]
    for step in steps:
        try:
            done = subprocess.run(step, capture_output=True, text=True, timeout=INSTALL, check=False)
        except subprocess.TimeoutExpired:
            raise ServerError(f"not installed within {INSTALL:.0f} s") from None
        if done.returncode:
            raise ServerError(f"not installed: {(done.stderr.strip().splitlines() or ['no reason given'])[-1][-300:]}")
    (place / "installed").touch()
