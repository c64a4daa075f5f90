"""Examples in docstrings run and print what they say."""

import doctest
import enum
import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest

from tidemill.steward import evidence

MODULES = [
    importlib.import_module(f"{package.__name__}.{found.name}")
    for package in (evidence,)
    for found in pkgutil.iter_modules(package.__path__)
]
PLAIN = {"Look"}
"""Classes of values alone, which an example of what makes them shows."""


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples_print_what_they_say(module: ModuleType) -> None:
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.attempted and not result.failed


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_class_has_an_example(module: ModuleType) -> None:
    own = [one for _, one in inspect.getmembers(module, inspect.isclass) if one.__module__ == module.__name__]
    for one in own:
        if not one.__name__.startswith("_") and not issubclass(one, enum.Enum) and one.__name__ not in PLAIN:
            assert ">>> " in (one.__doc__ or ""), one.__name__


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_says_what_it_is(module: ModuleType) -> None:
    for name, one in inspect.getmembers(module, lambda one: inspect.isclass(one) or inspect.isfunction(one)):
        if one.__module__ == module.__name__ and not name.startswith("_"):
            assert one.__doc__ and not one.__doc__.startswith(f"{name}("), f"{name}: a dataclass's own is no docstring"
