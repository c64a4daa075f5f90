"""Later runs of a job: the gate between them and the champion, and what `tidemill registry` says and does."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from chain import MODEL, QUICK, Run, aims_at, train

from tidemill.cli import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def again(binary: Run, place: Path, table: Path) -> Run:
    """The first run once more, where its version is champion."""
    registry = shutil.copytree(binary.registry, place / "registry_again")
    job = ["+experiment=table", f"data.path={table}", *aims_at("bought"), *QUICK, *MODEL]
    return train(place / "again", registry, *job)


@pytest.fixture(scope="module")
def worse(again: Run, place: Path, table: Path) -> Run:
    """After it, one that has hardly learned."""
    job = ["+experiment=table", f"data.path={table}", *aims_at("bought"), *QUICK]
    weak = ["model=linear", "training.max_epochs=1", "training.learning_rate=1e-7"]
    return train(place / "worse", again.registry, *job, *weak)


@pytest.fixture
def registry(worse: Run, tmp_path: Path) -> str:
    """Three versions, the second champion."""
    return str(shutil.copytree(worse.registry, tmp_path / "registry"))


def test_the_same_job_gives_the_same_model(binary: Run, again: Run) -> None:
    """And so passes the gate, compared with the champion on the same rows."""
    assert again.manifest["data"]["fingerprint"] == binary.manifest["data"]["fingerprint"]
    assert (again.bundle / "model.onnx").read_bytes() == (binary.bundle / "model.onnx").read_bytes()
    assert again.result["validation_loss"] == binary.result["validation_loss"]
    gate = again.manifest["results"]["gate"]
    assert gate["passed"]
    assert gate["comparison"]["difference"] == 0


def test_the_reasons_are_kept(again: Run, worse: Run) -> None:
    for run, passed in ((again, True), (worse, False)):
        gate = run.manifest["results"]["gate"]
        assert gate["passed"] is passed
        assert gate["reasons"]
        assert all("champion" in reason for reason in gate["reasons"][:1]), gate["reasons"]
        assert gate["reasons"][0] in run.output
    history = json.loads((worse.registry / "shop" / "aliases.json").read_text())["history"]
    champions = [entry for entry in history if entry["alias"] == "champion"]
    assert [entry["version"] for entry in champions] == ["1", "2"]
    assert champions[-1]["reason"] == " ".join(again.manifest["results"]["gate"]["reasons"])


def test_a_much_worse_model_stays_candidate(worse: Run) -> None:
    content = json.loads((worse.registry / "shop" / "aliases.json").read_text())
    assert content["aliases"] == {"candidate": "3", "champion": "2"}
    assert "shop version 3 is candidate" in worse.output
    comparison = worse.manifest["results"]["gate"]["comparison"]
    assert comparison["lower"] > 0


def test_list_and_show(registry: str, worse: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["registry", "list", "--registry", registry]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert [line[:3] for line in lines[:2]] == [["shop", "3", "candidate"], ["shop", "2", "champion"]]
    assert lines[2][:2] == ["shop", "1"]

    assert main(["registry", "show", "shop", "candidate", "--registry", registry, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.pop("history") and found == worse.manifest
    assert main(["registry", "show", "shop", "candidate", "--registry", registry]) == 0
    assert "shop version 3 (candidate)" in capsys.readouterr().out


def test_promote_and_rollback(registry: str, capsys: pytest.CaptureFixture[str]) -> None:
    def champion() -> str:
        return json.loads((Path(registry) / "shop" / "aliases.json").read_text())["aliases"]["champion"]

    assert main(["registry", "promote", "shop", "3", "--registry", registry, "--reason", "we want it"]) == 0
    assert champion() == "3"
    for version in ("2", "1"):
        assert main(["registry", "rollback", "shop", "--registry", registry]) == 0
        assert champion() == version
    assert main(["registry", "rollback", "shop", "--registry", registry]) == 1
    assert "RegistryError: A rollback needs a champion before the present one" in capsys.readouterr().err
    history = json.loads((Path(registry) / "shop" / "aliases.json").read_text())["history"]
    assert "we want it" in [entry["reason"] for entry in history]


def test_a_version_that_is_not_there(registry: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["registry", "promote", "shop", "9", "--registry", registry]) == 1
    assert "shop/9" in capsys.readouterr().err


def test_run_folders_do_not_matter_to_the_registry(worse: Run, tmp_path: Path) -> None:
    """A registry can be carried elsewhere: nothing in it points back."""
    moved = dataclasses.replace(worse, registry=shutil.copytree(worse.registry, tmp_path / "elsewhere"))
    assert main(["registry", "promote", "shop", "3", "--to", "challenger", "--registry", str(moved.registry)]) == 0
