"""A registry with a small real model."""

import pytest

from small_bundle import Small
from tidemill.bundle.registry.registry import Registry


@pytest.fixture(scope="session")
def registry(small_multiclass: Small, tmp_path_factory: pytest.TempPathFactory) -> str:
    registry = Registry(tmp_path_factory.mktemp("bulk") / "registry")
    for _ in range(2):
        registry.add("small", small_multiclass.folder)
    registry.promote("small", "1", by="me", reason="first")
    return registry.path
