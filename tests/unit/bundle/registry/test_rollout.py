"""What replicas shall hold: it follows from the history, lies in one small file, and changes with it."""

import json
from pathlib import Path
from typing import Any

import pytest
from rollout_parts import WHY, local, registry

from tidemill import cli
from tidemill.bundle import checksums
from tidemill.bundle.registry import rollout
from tidemill.bundle.registry.registry import Alias, Registry
from tidemill.bundle.registry.rollout import Action, Desired, Mode
from tidemill.errors import RegistryError

__all__ = ["local", "registry"]


def essence(state: Desired) -> tuple[Any, ...] | tuple[Mode | float | str, ...]:
    return state.champion, state.challenger, state.mode, state.share


def test_each_change_makes_a_generation(registry: Registry) -> None:
    seen = [registry.desired("m")]
    assert seen[0] == Desired(generation=0)
    registry.promote("m", "1", **WHY)
    seen.append(registry.desired("m"))
    registry.promote("m", "2", Alias.CHALLENGER, **WHY)
    seen.append(registry.desired("m"))
    seen.append(registry.set_rollout("m", Mode.SHADOW, **WHY))
    seen.append(registry.set_rollout("m", Mode.CANARY, 0.25, by="bob", reason="carefully"))
    seen.append(registry.set_serving("m", False, **WHY))
    seen.append(registry.set_serving("m", True, **WHY))
    assert [state.generation for state in seen] == list(range(7))
    assert [essence(state) for state in seen[1:5]] == [
        ("1", None, Mode.OFF, 0.0),
        ("1", "2", Mode.OFF, 0.0),
        ("1", "2", Mode.SHADOW, 0.0),
        ("1", "2", Mode.CANARY, 0.25),
    ]
    assert (seen[4].by, seen[4].reason) == ("bob", "carefully") and seen[4].at.endswith("+00:00")
    assert [state.serving for state in seen[4:]] == [True, False, True]
    assert [(c.action, c.alias, c.version, c.mode, c.share) for c in registry.history("m")[2:]] == [
        ("rollout", "challenger", "2", "shadow", None),
        ("rollout", "challenger", "2", "canary", 0.25),
        ("unload", "champion", "1", None, None),
        ("load", "champion", "1", None, None),
    ]


def test_what_changes_nothing_leaves_the_state(registry: Registry) -> None:
    registry.promote("m", "1", **WHY)
    registry.promote("m", "2", Alias.CHALLENGER, **WHY)
    registry.set_rollout("m", Mode.SHADOW, **WHY)
    state, entries = registry.desired("m"), len(registry.history("m"))
    registry.set_rollout("m", Mode.SHADOW, **WHY)
    registry.set_serving("m", True, **WHY)
    registry.promote("m", "1", **WHY)
    registry.promote("m", "2", Alias.CHALLENGER, **WHY)
    assert len(registry.history("m")) == entries
    registry.promote("m", "3", Alias.CANDIDATE, **WHY)
    assert registry.desired("m") == state
    mark = registry.state_mark("m")
    assert registry.state_mark("m") == mark
    registry.set_rollout("m", Mode.OFF, **WHY)
    assert registry.state_mark("m") != mark


def test_a_challenger_that_becomes_champion_ends_its_rollout(registry: Registry) -> None:
    registry.promote("m", "1", **WHY)
    registry.promote("m", "2", Alias.CHALLENGER, **WHY)
    registry.set_rollout("m", Mode.CANARY, 0.5, **WHY)
    registry.promote("m", "2", **WHY)
    state = registry.desired("m")
    assert essence(state) == ("2", None, Mode.OFF, 0.0) and state.previous == "1" and not state.rolled_back
    assert registry.aliases("m") == {"champion": "2"}
    registry.promote("m", "1", Alias.CHALLENGER, **WHY)
    registry.set_rollout("m", Mode.SHADOW, **WHY)
    assert registry.rollback("m", **WHY) == "1"
    state = registry.desired("m")
    assert essence(state) == ("1", None, Mode.OFF, 0.0) and state.previous is None and state.rolled_back
    with pytest.raises(RegistryError, match="champion = 1"):
        registry.resolve("m", "challenger")


def test_another_champion_leaves_a_rollout_and_another_challenger_ends_it(registry: Registry) -> None:
    registry.promote("m", "1", **WHY)
    registry.promote("m", "3", Alias.CHALLENGER, **WHY)
    registry.set_rollout("m", Mode.CANARY, 0.5, **WHY)
    registry.promote("m", "2", **WHY)
    assert essence(registry.desired("m")) == ("2", "3", Mode.CANARY, 0.5)
    registry.rollback("m", **WHY)
    assert essence(registry.desired("m")) == ("1", "3", Mode.CANARY, 0.5)
    registry.promote("m", "2", Alias.CHALLENGER, **WHY)
    assert essence(registry.desired("m")) == ("1", "2", Mode.OFF, 0.0), "what 3 had earned is not 2's"


@pytest.mark.parametrize(
    ("mode", "share", "observed"),
    [
        (Mode.CANARY, None, "mode canary with no share"),
        (Mode.CANARY, 0.0, r"mode canary with share 0\.0"),
        (Mode.CANARY, 1.0, r"mode canary with share 1\.0"),
        (Mode.CANARY, float("nan"), "mode canary with share nan"),
        (Mode.SHADOW, 0.5, r"mode shadow with share 0\.5"),
        (Mode.OFF, 0.5, r"mode off with share 0\.5"),
    ],
)
def test_shares_belong_to_canaries(local: Registry, mode: Mode, share: float | None, observed: str) -> None:
    local.promote("m", "1", **WHY)
    local.promote("m", "2", Alias.CHALLENGER, **WHY)
    with pytest.raises(RegistryError, match=f"A canary has a share greater than 0.*{observed}.*--share 0.1"):
        local.set_rollout("m", mode, share, **WHY)
    assert local.desired("m").generation == 2


def test_a_rollout_needs_a_challenger_and_a_challenger_another_version(registry: Registry) -> None:
    registry.promote("m", "1", **WHY)
    with pytest.raises(RegistryError, match=r"A rollout is about a challenger.*has none.*--to challenger"):
        registry.set_rollout("m", Mode.SHADOW, **WHY)
    with pytest.raises(RegistryError, match=r"A challenger is another version than the champion.*m 1 is champion"):
        registry.promote("m", "1", Alias.CHALLENGER, **WHY)
    with pytest.raises(RegistryError, match="ghost/champion"):
        registry.set_serving("ghost", False, **WHY)
    assert registry.set_rollout("m", Mode.OFF, **WHY).generation == 1


def test_a_bundle_is_verified_once_by_whoever_promotes_it(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    verified = []
    verify = checksums.verify
    monkeypatch.setattr(checksums, "verify", lambda folder: (verified.append(folder), verify(folder)))
    registry.promote("m", "1", Alias.CANDIDATE, **WHY)
    registry.promote("m", "1", **WHY)
    assert len(verified) == 1
    registry.promote("m", "2", **WHY)
    registry.rollback("m", **WHY)
    assert len(verified) == 2
    Registry(registry.path).promote("m", "2", **WHY)
    assert len(verified) == 3, "another one looks for itself"


def test_the_command(local: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: Any) -> tuple[int | str, ...]:
        status = cli.main(["registry", *words, "--registry", local.path])
        return status, *capsys.readouterr()

    local.promote("m", "1", **WHY)
    local.promote("m", "2", Alias.CHALLENGER, **WHY)
    rolled_out = run("rollout", "m", "--mode", "canary", "--share", "0.1", "--reason", "carefully")
    assert rolled_out == (0, "m: challenger 2: canary 0.1\n", "")
    assert "challenger: canary 0.1" in run("list")[1].splitlines()[3]
    assert "carefully" in run("history", "m")[1] and "10% of the requests (canary)" in run("history", "m")[1]
    assert run("rollout", "m", "--mode", "shadow")[1] == "m: challenger 2: shadow\n"
    assert run("rollout", "m", "--mode", "off")[1] == "m: challenger 2: does nothing\n"
    local.set_serving("m", False, **WHY)
    assert "champion: unloaded" in run("list")[1]
    status, _, error = run("rollout", "m", "--mode", "canary")
    assert status == 1 and "mode canary with no share" in error and error.count("\n") == 1


def test_what_no_replica_could_hold_is_refused(registry: Registry) -> None:
    registry.promote("m", "1", by="ann", reason="the first")
    state = registry.desired("m")
    champion = [
        rollout.change(Alias.CHALLENGER, str(state.champion), Action.PROMOTE, by="steward", reason="r"),
        rollout.change(Alias.CHALLENGER, str(state.champion), Action.ROLLOUT, by="steward", reason="r", mode="shadow"),
    ]
    with pytest.raises(RegistryError, match="shadow needs one beside the champion"):
        registry.apply("m", champion, generation=state.generation)
    assert registry.desired("m") == state


@pytest.mark.parametrize("version", ["../1", "1/../../other/1", "", "01", "/srv/other", ".staging-1", None])
def test_no_alias_leads_out_of_the_models_folder(local: Registry, version: str | None) -> None:
    local.promote("m", "1", **WHY)
    place = Path(local.path, "m")
    for file, keys in (("aliases.json", ("history", 0, "version")), ("desired.json", ("champion",))):
        was = (place / file).read_text()
        content = json.loads(was)
        inner = content
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = version
        (place / file).write_text(json.dumps(content))
        look = (lambda: local.resolve("m", "champion")) if file == "aliases.json" else (lambda: local.desired("m"))
        if version is None and file == "desired.json":
            assert look().champion is None  # a model without a champion, which no server takes up
        else:
            with pytest.raises(RegistryError, match=f"A model's {file} is one that the registry wrote"):
                look()
        (place / file).write_text(was)
    assert local.resolve("m", "champion") == "1"
