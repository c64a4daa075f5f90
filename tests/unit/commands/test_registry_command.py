"""`tidemill registry list|history|show`: for people as text, for programs as JSON, with the reasons typed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tidemill import cli
from tidemill.bundle import checksums, manifest
from tidemill.bundle.registry.registry import Alias, Registry
from tidemill.bundle.registry.rollout import Action, change

METRIC = {"name": "accuracy", "value": 0.7201, "lower": 0.7178, "upper": 0.7224, "higher_is_better": True}
LOSS = {"loss": "log_loss", "difference": 0.02, "lower": 0.01, "upper": 0.03, "level": 0.95, "rows": 900}
STANDING = {
    "metric": "accuracy",
    "ours": 0.72,
    "theirs": 0.74,
    "lower": -0.03,
    "upper": -0.01,
    "higher_is_better": True,
}
TEST = {
    "rows": 900,
    "metrics": [METRIC],
    "slices": [{"column": "year", "value": "2015", "rows": 400, "metrics": [METRIC]}],
    "baselines": [
        {"name": "trivial", "metrics": [], "comparison": {**LOSS, "lower": -0.4, "upper": -0.3}, "standing": None},
        {"name": "boosting", "metrics": [], "comparison": LOSS, "standing": STANDING},
    ],
}


@pytest.fixture
def registry(small_multiclass: Any, tmp_path: Path) -> Registry:
    """Version 1 passed the gate, version 2 did not, version 3 holds no figures."""
    registry = Registry(tmp_path / "registry")
    for gate in ({"passed": True, "reasons": ["It beats.", "No champion."]}, {"passed": False, "reasons": ["Worse."]}):
        folder = tmp_path / "staged"
        shutil.copytree(small_multiclass.folder, folder)
        described = manifest.read(folder)
        manifest.write(replace(described, results={**described.results, "test": TEST, "gate": gate}), folder)
        checksums.write(folder)
        version = registry.add("small", folder)
        registry.promote("small", version, Alias.CANDIDATE, by="train.py", reason="newest")
        if gate["passed"]:
            registry.promote("small", version, by="train.py", reason=" ".join(gate["reasons"]))
        shutil.rmtree(folder)
    registry.add("small", small_multiclass.folder)
    decided = change(Alias.CHALLENGER, "2", Action.PROMOTE, by="steward, decision 7", reason="The gate passes it.")
    assert registry.apply("small", [decided], generation=registry.desired("small").generation)
    registry.promote("small", "3", by="ada", reason="a fair, decision")
    return registry


def run(capsys: pytest.CaptureFixture[str], registry: Registry, *words: str) -> str:
    assert cli.main(["registry", *words, "--registry", registry.path]) == 0
    return capsys.readouterr().out


def test_the_list_has_the_metric_with_its_interval(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    lines = run(capsys, registry, "list").splitlines()[2:]
    assert [line.split()[1] for line in lines] == ["3", "2", "1"]
    assert "Accuracy 0.7201 (0.7178 to 0.7224)" in lines[1] and lines[1].endswith("refused")
    assert lines[2].endswith("passed") and "champion" in lines[0] and "challenger" in lines[1]
    found = json.loads(run(capsys, registry, "list", "small", "--json"))
    assert [one["version"] for one in found] == ["3", "2", "1"]
    assert found[1]["metric"] == METRIC and found[0]["metric"] is None
    assert (found[0]["aliases"], found[1]["gate_passed"]) == (["champion"], False)


def test_the_history_has_typed_reasons(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(run(capsys, registry, "history", "small", "--json"))
    typed = [(one["source"], one["by"], one["decision"], one["reasons"]) for one in found]
    assert typed == [
        ("training", "train.py", None, ["newest"]),
        ("training", "train.py", None, ["It beats.", "No champion."]),
        ("training", "train.py", None, ["newest; the gate refused to make it champion:", "Worse."]),
        ("decision", "steward", 7, ["The gate passes it."]),
        ("person", "ada", None, ["a fair, decision"]),
    ]
    text = run(capsys, registry, "history", "small")
    assert "version 2 became challenger, by decision 7 of steward\n    The gate passes it.\n" in text
    assert "version 1 became champion, by a training run\n    It beats.\n    No champion.\n" in text
    assert "version 3 became champion, by ada\n    a fair, decision" in text
    assert cli.main(["registry", "history", "ghost", "--registry", registry.path]) == 1
    assert "ghost/champion" in capsys.readouterr().err


def test_show_is_a_page_for_people(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, registry, "show", "small", "1")
    assert text.startswith("small version 1\nMade 20") and "{" not in text
    for part in (
        "which of 3 classes grade is",
        "Accuracy  0.7201  0.7178 to 0.7224  higher",
        "where year = 2015 (400 rows): Accuracy 0.7201",
        "LightGBM is better than this model on this table: accuracy 0.740 against 0.720",
        "better than always answering the same in log loss",
        "Gate: passed\n  It beats.\n  No champion.\n",
        "version 1 became champion, by a training run",
        f"{registry.path}/small/1/report.html",
        f"tidemill registry show small 1 --registry {registry.path} --json",
    ):
        assert part in text, part
    bare = run(capsys, registry, "show", "small")
    assert "small version 3 (champion)" in bare and "It holds no figures." in bare
    whole = json.loads(run(capsys, registry, "show", "small", "1", "--json"))
    assert whole["identity"]["version"] == "1" and whole["history"][1]["reasons"] == ["It beats.", "No champion."]
