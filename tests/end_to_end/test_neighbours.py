"""Two servers at once, of one user and of two, each with keys, begun in a folder with files called like modules."""

import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from serve_parts import Server, begin

from patience import PATIENCE
from tidemill.bundle.registry.registry import Registry
from tidemill.serve.door import key_file
from tidemill.serve.door.inference.servicer import SERVICE
from tidemill.serve.door.keys import Scope
from tidemill.serve.wire.inference import messages

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]
CALLS = 1000
NOBODY = 65534
SHADOWED = ("msgspec", "numpy", "polars", "selectors", "tidemill")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where both are begun. Each file there says that it was run. Other users can reach no folder of pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="begun-", dir="/tmp"))
    folder.chmod(0o755)
    for name in SHADOWED:
        (folder / f"{name}.py").write_text(f"open({str(folder / 'was-run')!r}, 'a').write({name!r})")
    (folder / "mine.py").write_text(
        "from tidemill.serve.hooks.observer import Observer\n\n\nclass Mine(Observer):\n    def __init__(self):\n"
        f"        open({str(folder / 'observed')!r}, 'w').close()\n"
    )
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module", params=["one user", "two users"])
def both(request: pytest.FixtureRequest, small_multiclass: Any, folder: Path) -> Iterator[list[tuple[Server, str]]]:
    """Servers, each with a key that is good for all of it, started at the same time."""
    other = NOBODY if request.param == "two users" else None
    if other is not None and not _can_run(other):
        pytest.skip("no other user can be had here who may run this Python")

    def one(name: str, user: int | None) -> tuple[Server, str]:
        place = folder / f"{name} {request.param}".replace(" ", "-")
        place.mkdir()
        registry = Registry(place / "registry")
        registry.promote("small", registry.add("small", small_multiclass.folder), by="me", reason="first")
        key = key_file.create(place / "keys.json", "all", list(Scope))[1]
        if user is not None:
            for path in (place, *place.rglob("*")):
                os.chown(path, user, user)
        settings = [f"keys={place}/keys.json", f"ledger.path={place}/ledger"]
        observers = ['observers={"mine:Mine": {}}'] if user is None else []
        return begin(registry, *settings, *observers, folder=folder, user=user), key

    with ThreadPoolExecutor(2) as threads, contextlib.ExitStack() as ended:
        begun = [threads.submit(one, *each) for each in (("a", None), ("b", other))]
        for each in begun:
            if each.exception() is None:  # however the other fares, this one ends
                ended.callback(each.result()[0].stop, signal.SIGTERM, group=False)
        yield [each.result() for each in begun]


def _can_run(user: int) -> bool:
    """Whether this process may start others as a user who can read what they need."""
    if os.getuid():
        return False
    tried = [sys.executable, "-c", "import tidemill.serve.on_ray.local, ray"]
    try:
        ran = subprocess.run(tried, user=user, group=user, extra_groups=[], cwd="/", capture_output=True)
    except OSError:  # this Python lies where only this user may look
        return False
    return ran.returncode == 0


def test_neither_answers_for_the_other_over_http(both: list[tuple[Server, str]]) -> None:
    for server, own in both:
        for _, key in both:
            seen: Counter[int] = Counter()
            for _ in range(CALLS):
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
                connection.request("GET", "/v2/models/small/stats", headers={"X-API-Key": key})
                seen[connection.getresponse().status] += 1
                connection.close()
            assert seen == {200 if key == own else 401: CALLS}


def test_neither_answers_for_the_other_over_grpc(both: list[tuple[Server, str]]) -> None:
    request = messages.ModelStatisticsRequest(name="small").SerializeToString()
    for server, own in both:
        for _, key in both:
            seen: Counter[str] = Counter()
            for _ in range(CALLS):
                alone = [("grpc.use_local_subchannel_pool", 1)]  # each call by a connection of its own
                with grpc.insecure_channel(f"127.0.0.1:{server.grpc}", options=alone) as channel:
                    try:
                        channel.unary_unary(f"/{SERVICE}/ModelStatistics")(
                            request, metadata=(("x-api-key", key), ("application", "tidemill")), timeout=PATIENCE
                        )
                        seen["OK"] += 1
                    except grpc.RpcError as error:
                        seen[error.code().name] += 1
            assert seen == {"OK" if key == own else "UNAUTHENTICATED": CALLS}


def test_no_file_of_the_folder_is_run_but_the_users_observer(both: list[tuple[Server, str]], folder: Path) -> None:
    assert not (folder / "was-run").exists() and (folder / "observed").exists()
    for server, key in both:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        body = b'{"rows": [{"open": true}]}'
        headers = {"X-API-Key": key, "Content-Type": "application/json"}
        connection.request("POST", "/predict", body, headers)
        assert connection.getresponse().status == 200
        connection.close()
