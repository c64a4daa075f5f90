"""Two servers of one user at once, each with keys, begun in a folder with files that are called like modules."""

import contextlib
import http.client
import signal
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

pytestmark = pytest.mark.slow
CALLS = 1000
SHADOWED = ("msgspec", "numpy", "polars", "selectors", "tidemill")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where both are begun. Each file there says that it was run."""
    folder = tmp_path_factory.mktemp("begun")
    for name in SHADOWED:
        (folder / f"{name}.py").write_text(f"open({str(folder / 'was-run')!r}, 'a').write({name!r})")
    (folder / "mine.py").write_text(
        "from tidemill.serve.hooks.observer import Observer\n\n\nclass Mine(Observer):\n    def __init__(self):\n"
        f"        open({str(folder / 'observed')!r}, 'w').close()\n"
    )
    return folder


@pytest.fixture(scope="module")
def both(small_multiclass: Any, folder: Path) -> Iterator[list[tuple[Server, str]]]:
    """Servers, each with a key that is good for all of it, started at the same time."""

    def one(name: str) -> tuple[Server, str]:
        registry = Registry(folder / name)
        registry.promote("small", registry.add("small", small_multiclass.folder), by="me", reason="first")
        key = key_file.create(folder / f"{name}.json", "all", list(Scope))[1]
        settings = [f"keys={folder / name}.json", f"ledger.path={folder / name}-ledger"]
        return begin(registry, *settings, 'observers={"mine:Mine": {}}', folder=folder), key

    with ThreadPoolExecutor(2) as threads, contextlib.ExitStack() as ended:
        begun = [threads.submit(one, name) for name in ("a", "b")]
        for each in begun:
            if each.exception() is None:  # however the other fares, this one ends
                ended.callback(each.result()[0].stop, signal.SIGTERM, group=False)
        yield [each.result() for each in begun]


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
