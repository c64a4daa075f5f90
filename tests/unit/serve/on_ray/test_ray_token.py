from pathlib import Path
from typing import Any

import pytest

import own_ray
from tidemill.serve.on_ray import ray_token

pytestmark = pytest.mark.xdist_group("ray")

_STARTED = """
import os
import ray  # before the token is set, as happens when an application is imported
from tidemill.serve.on_ray import ray_token
os.environ |= ray_token.environment()
import own_ray
own_ray.start()
import grpc

channel = grpc.insecure_channel(ray.get_runtime_context().gcs_address)
ask = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetAllNodeInfo")
for token in (None, "0" * 64, os.environ["RAY_AUTH_TOKEN"]):
    given = [("authorization", f"Bearer {token}")] if token else []
    try:
        print(len(ask(b"", timeout=60, metadata=given)) > 0)
    except grpc.RpcError as error:
        print(error.code().name)
ray.shutdown()
"""


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ray_token._THEIRS:
        monkeypatch.delenv(name, raising=False)


def test_a_token_is_made_for_this_start_alone(bare: None) -> None:
    first, second = ray_token.environment(), ray_token.environment()
    assert list(first) == ["RAY_AUTH_TOKEN"] and len(first["RAY_AUTH_TOKEN"]) == 64 and first != second


@pytest.mark.parametrize("name", ray_token._THEIRS)
def test_what_an_operator_has_set_stays(bare: None, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "disabled")
    assert ray_token.environment() == {}


@pytest.mark.slow
def test_ray_refuses_who_has_no_token(bare: Any, tmp_path: Path) -> None:
    ran = own_ray.run(_STARTED, HOME=str(tmp_path))
    assert ran.stdout.split() == ["UNAUTHENTICATED", "UNAUTHENTICATED", "True"], ran.stderr
    assert not (tmp_path / ".ray").exists(), "no token is left in a file"
