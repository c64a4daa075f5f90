import dataclasses
import json
import subprocess
import sys
from enum import Enum
from pathlib import Path

import pytest

from tidemill.bundle import manifest
from tidemill.bundle.manifest import Manifest
from tidemill.data.schema import Column, Role, Schema
from tidemill.data.target import Target
from tidemill.errors import BundleError
from tidemill.settings import Kind, Objective

INPUTS = (Column(name="value", kind=Kind.NUMERIC), Column(name="stadt ü", kind=Kind.CATEGORICAL))
SCHEMA = Schema(columns=(*INPUTS, Column(name="y", kind=Kind.NUMERIC, role=Role.TARGET)))
TARGET = Target(name="y", objective=Objective.REGRESSION, classes=())


class Colour(Enum):
    RED = "red"


def made() -> Manifest:
    results = {"metrics": [{"value": float("nan"), "upper": float("inf")}], "colour": Colour.RED, "pair": (1, None)}
    interface = manifest.Interface.of(SCHEMA, INPUTS, TARGET)
    return manifest.compose("m", interface, TARGET, data={"rows": 3}, results=results, settings={"seed": 1})


def test_written_and_read_back_it_is_the_same(tmp_path: Path) -> None:
    before = made()
    manifest.write(before, tmp_path)
    assert manifest.read(tmp_path) == before
    assert before.schema == SCHEMA


def test_it_says_what_goes_in_and_out() -> None:
    content = manifest.plain(made())
    assert content["interface"]["inputs"][1] == {
        "name": "stadt ü",
        "kind": "categorical",
        "type": "string",
        "missing": '""',
        "missing_allowed": True,
        "reading": "White space around a text (Unicode's White_Space) is no part of it, and it is composed "
        "(Unicode NFC): do both before the graph.",
    }
    assert [(output["name"], output["tensor"]) for output in content["interface"]["outputs"]] == [
        ("value", "answer_value"),
        ("lower", "lower"),
        ("upper", "upper"),
    ]
    assert content["code"]["dependencies"]["numpy"] and content["identity"]["version"] is None


def test_what_json_cannot_hold_becomes_null_or_text() -> None:
    assert made().results == {"metrics": [{"value": None, "upper": None}], "colour": "red", "pair": [1, None]}
    assert manifest.plain({1: {2}}) == {"1": "{2}"}


def test_another_format_is_refused(tmp_path: Path) -> None:
    manifest.write(dataclasses.replace(made(), format=99), tmp_path)
    with pytest.raises(BundleError, match="format 99, where this version reads 1"):
        manifest.read(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', '{"format": 1, "identity": 3}'])
def test_a_damaged_one_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json is one that this version of Tidemill can read"):
        manifest.read(tmp_path)


def test_a_missing_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such file"):
        manifest.read(tmp_path)


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    content = {**manifest.plain(made()), "extra": 1}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(BundleError, match="extra"):
        manifest.read(tmp_path)


def test_outside_a_checkout_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError("git")))
    assert made().code.commit is None


def test_it_is_read_without_torch() -> None:
    code = "import sys, tidemill.bundle.registry.registry, tidemill.bundle.manifest, tidemill.bundle.runtime as _; "
    code += "assert not {'torch', 'spox', 'hydra', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
