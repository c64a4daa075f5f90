"""A version replaces another only if it answers every request that the other does."""

import json
from typing import Any

import pytest
from watch_parts import described

from tidemill.bundle import manifest
from tidemill.bundle.manifest import Manifest
from tidemill.errors import BundleError
from tidemill.serve.answering import compatibility
from tidemill.settings import Kind, Objective

__all__ = ["described"]


def _with(described: Any, columns: Any = None, **identity: Any) -> Any:
    content = manifest.plain(described)
    content["identity"].update(identity)
    content["interface"]["schema"]["columns"].update(columns or {})
    content["interface"]["schema"]["columns"] = {
        name: entry for name, entry in content["interface"]["schema"]["columns"].items() if entry
    }
    return manifest.parse(json.dumps(content).encode(), "here")


@pytest.mark.parametrize(
    ("columns", "identity", "difference"),
    [
        ({}, {"objective": str(Objective.BINARY)}, "objective binary instead of multiclass"),
        ({}, {"classes": ["mid", "low", "ä-high"]}, "classes mid, low, ä-high instead of low, mid, ä-high"),
        ({"new": {"kind": str(Kind.NUMERIC), "missing_allowed": False}}, {}, "column new may not be missing"),
        ({"size": {"kind": str(Kind.NUMERIC), "missing_allowed": False}}, {}, "column size may not be missing"),
        ({"size": {"kind": str(Kind.CATEGORICAL)}}, {}, "column size is categorical instead of numeric"),
        ({"size": None}, {}, "column size is unknown to it"),
    ],
)
def test_what_does_not_fit_is_named(
    described: Manifest, columns: dict[str, Any], identity: dict[str, Any], difference: str
) -> None:
    with pytest.raises(BundleError, match=rf"answers every request.*{difference}.*another model's name"):
        compatibility.check(_with(described, columns, version="2", **identity), described)


def test_what_takes_more_fits(described: Manifest) -> None:
    more = {"new": {"kind": "numeric"}, "open": {"kind": "boolean"}, "size": {"kind": "numeric", "role": "ignored"}}
    compatibility.check(_with(described, more), described)
    compatibility.check(described, described)
