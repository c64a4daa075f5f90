"""A replica that is attacked."""

from typing import Any

import pytest

from tidemill.bundle.registry.registry import Registry


@pytest.fixture(scope="module")
def registry(small_multiclass: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    registry = Registry(tmp_path_factory.mktemp("registry"))
    registry.promote("small", registry.add("small", small_multiclass.folder), by="me", reason="first")
    return registry.path
