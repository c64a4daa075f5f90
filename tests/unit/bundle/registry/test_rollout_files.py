"""The file of what is wanted: small, checked, written whole or not at all, by one writer at a time."""

import dataclasses
import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from rollout_parts import WHY, fill, local, registry

from tidemill.bundle import manifest
from tidemill.bundle.registry import rollout, store
from tidemill.bundle.registry.registry import Alias, Registry
from tidemill.bundle.registry.rollout import Action, Desired, Mode
from tidemill.errors import BundleError, RegistryError

__all__ = ["local", "registry"]


def test_the_file_is_small_whatever_the_history(local: Registry, tmp_path: Path) -> None:
    for turn in range(60):
        local.promote("m", str(1 + turn % 2), by="ann", reason="r" * 100)
    folder = tmp_path / "registry/m"
    assert (folder / "aliases.json").stat().st_size > 10_000 and (folder / "desired.json").stat().st_size < 600


def test_a_registry_from_before_is_read_and_its_next_change_writes_the_file(local: Registry, tmp_path: Path) -> None:
    local.promote("m", "1", **WHY)
    local.promote("m", "2", **WHY)
    expected, file = local.desired("m"), tmp_path / "registry/m/desired.json"
    file.unlink()
    mark = local.state_mark("m")
    assert local.desired("m") == expected and mark is not None
    local.promote("m", "2", **WHY)
    assert file.exists() and local.desired("m") == expected, "also a change that changes nothing"
    assert local.state_mark("m") != mark


def test_a_writer_killed_between_the_two_files_is_made_good(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.promote("m", "1", **WHY)
    replace = type(registry._store).replace

    def killed(self: Any, model: str, name: str, content: bytes) -> None:
        if name == "desired.json":
            raise KeyboardInterrupt
        replace(self, model, name, content)

    monkeypatch.setattr(type(registry._store), "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        registry.promote("m", "2", **WHY)
    monkeypatch.undo()
    assert registry.aliases("m")["champion"] == "2" and registry.desired("m").champion == "1"
    registry.promote("m", "2", **WHY)
    assert registry.desired("m").champion == "2" and registry.desired("m").generation == 2


@pytest.mark.parametrize(
    ("damage", "observed"),
    [
        ({"format": 2}, "format 1 was expected"),
        ({"mode": "king"}, "must be one of off, shadow, canary"),
        ({"mode": "shadow"}, "needs one beside the champion"),
        ({"share": 0.5}, "greater than 0 and less than 1 for a canary"),
        ({"colour": 1}, "no such key"),
        ({"generation": "3"}, "a whole number"),
    ],
)
def test_a_damaged_file_is_named(local: Registry, tmp_path: Path, damage: dict[str, Any], observed: str) -> None:
    local.promote("m", "1", **WHY)
    file = tmp_path / "registry/m/desired.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **damage}))
    with pytest.raises(RegistryError, match=rf"(?s)desired\.json is one that the registry wrote.*{observed}"):
        local.desired("m")
    file.write_text(file.read_text()[:50])
    with pytest.raises(RegistryError, match=r"JSONDecodeError|Unterminated|Expecting"):
        local.desired("m")


def test_a_damaged_rollout_in_the_history_is_named(local: Registry, tmp_path: Path) -> None:
    local.promote("m", "1", **WHY)
    file = tmp_path / "registry/m/aliases.json"
    file.write_text(file.read_text().replace('"action"', '"mode": "king", "action"'))
    with pytest.raises(RegistryError, match=r"aliases\.json is one that the registry wrote.*king"):
        local.aliases("m")


def test_what_is_written_is_read() -> None:
    state = Desired(generation=7, champion="3", challenger="4", mode=Mode.CANARY, share=0.125, previous="2", by="Zoë")
    assert rollout.decode(state.encode()) == state
    assert rollout.decode(dataclasses.replace(state, serving=False).encode()) != state


def test_changes_at_once_are_all_kept(registry: Registry) -> None:
    """Object stores too: one writer's file keeps the others waiting."""
    registry.promote("m", "1", **WHY)
    registry.promote("m", "2", Alias.CHALLENGER, **WHY)
    shares = [round(0.1 + number / 20, 2) for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda share: registry.set_rollout("m", Mode.CANARY, share, **WHY), shares))
    assert sorted(change.share for change in registry.history("m")[2:]) == shares
    assert registry.desired("m").generation == 10


def test_a_lock_that_a_killed_writer_left_is_broken_and_a_live_one_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(f"memory://{uuid.uuid4().hex}")
    registry.add("m", fill(tmp_path / "staging"))
    files, lock = registry._store.filesystem, f"{registry._store.root}/m/.lock"
    files.pipe_file(lock, str(time.time() - 61).encode())
    registry.promote("m", "1", **WHY)
    assert not files.exists(lock)
    files.pipe_file(lock, str(time.time()).encode())
    monkeypatch.setattr(store, "_PATIENCE", 0.1)
    with pytest.raises(RegistryError, match=r"another writer has held .*m/\.lock for 0 s"):
        registry.promote("m", "1", Alias.CANDIDATE, **WHY)
    assert files.exists(lock), "it is another's"


def test_copies_of_remote_bundles_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    registry = Registry(f"memory://{uuid.uuid4().hex}")
    registry.add("m", fill(tmp_path / "staging"))
    with registry.fetched("m", "1") as folder:
        assert manifest.read(folder).identity.version == "1"
    assert not folder.exists()
    registry._store.filesystem.pipe_file(f"{registry._store.root}/m/1/model.onnx", b"altered")
    with pytest.raises(BundleError, match="altered"):
        registry.verify("m", "1")

    def fail(self: Any, source: str, target: str, **options: Any) -> None:
        raise OSError("connection lost")

    monkeypatch.setattr(type(registry._store.filesystem), "get_file", fail)
    with pytest.raises(RegistryError, match="connection lost"):
        registry.verify("m", "1")
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_local_bundle_is_used_where_it_lies(local: Registry, tmp_path: Path) -> None:
    with local.fetched("m", "1") as folder:
        assert folder == tmp_path / "registry/m/1"
    assert folder.exists()


def test_changes_are_made_together_or_not_at_all_if_others_were_faster(registry: Registry) -> None:
    generation = registry.desired("m").generation
    changes = [
        rollout.change(Alias.CHALLENGER, "2", Action.PROMOTE, by="steward", reason="r"),
        rollout.change(Alias.CHALLENGER, "2", Action.ROLLOUT, by="steward", reason="r", mode="shadow"),
    ]
    assert registry.apply("m", changes, generation=generation)
    state = registry.desired("m")
    assert (state.challenger, state.mode, state.generation) == ("2", Mode.SHADOW, generation + 2)
    assert not registry.apply("m", changes, generation=generation)
    assert registry.desired("m") == state


def test_the_secret_of_tosses_is_made_with_the_first_canary_and_stays(registry: Registry, tmp_path: Path) -> None:
    registry.promote("m", "1", **WHY)
    registry.promote("m", "2", Alias.CHALLENGER, **WHY)
    registry.set_rollout("m", Mode.SHADOW, **WHY)
    assert registry.toss_secret("m") == b""
    registry.set_rollout("m", Mode.CANARY, 0.1, **WHY)
    secret = registry.toss_secret("m")
    assert len(secret) == 32 and Registry(registry.path).toss_secret("m") == secret, "the same for all nodes"
    registry.set_rollout("m", Mode.CANARY, 0.3, **WHY)
    registry.set_rollout("m", Mode.OFF, **WHY)
    registry.set_rollout("m", Mode.CANARY, 0.5, **WHY)
    assert registry.toss_secret("m") == secret, "else keys would change sides"
    place = Path(registry.path, "m", "tosses.key")
    if place.exists():
        assert place.stat().st_mode & 0o777 == 0o600
        place.write_text("no key")
        with pytest.raises(RegistryError, match="can be reached, read and written"):
            registry.toss_secret("m")
