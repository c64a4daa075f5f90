"""What replicas shall hold: it follows from the history, lies in one small file, and changes with it."""

import dataclasses
import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tidemill import cli
from tidemill.bundle import checksums, manifest
from tidemill.bundle.manifest import Interface
from tidemill.bundle.registry import rollout, store
from tidemill.bundle.registry.registry import Alias, Registry
from tidemill.bundle.registry.rollout import Action, Desired, Mode
from tidemill.data.schema import Column, Schema
from tidemill.data.target import Target
from tidemill.errors import BundleError, RegistryError
from tidemill.settings import Kind, Objective

WHY = {"by": "ann", "reason": "looks right"}


def fill(folder: Path) -> Path:
    inputs = (Column(name="x", kind=Kind.NUMERIC),)
    target = Target(name="y", objective=Objective.REGRESSION, classes=())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(bytes(1000))
    described = manifest.compose(
        "m", Interface.of(Schema(columns=inputs), inputs, target), target, data={}, results={}, settings={}
    )
    manifest.write(described, folder)
    checksums.write(folder)
    return folder


@pytest.fixture(params=["local", "memory"])
def registry(request, tmp_path):
    """Three versions, none of them an alias yet."""
    registry = Registry(tmp_path / "registry" if request.param == "local" else f"memory://{uuid.uuid4().hex}")
    for _ in range(3):
        registry.add("m", fill(tmp_path / "staging"))
    return registry


@pytest.fixture
def local(tmp_path):
    registry = Registry(tmp_path / "registry")
    for _ in range(3):
        registry.add("m", fill(tmp_path / "staging"))
    return registry


def essence(state):
    return state.champion, state.challenger, state.mode, state.share


def test_each_change_makes_a_generation(registry):
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


def test_what_changes_nothing_leaves_the_state(registry):
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


def test_a_challenger_that_becomes_champion_ends_its_rollout(registry):
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


def test_another_champion_leaves_a_rollout_and_another_challenger_ends_it(registry):
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
def test_shares_belong_to_canaries(local, mode, share, observed):
    local.promote("m", "1", **WHY)
    local.promote("m", "2", Alias.CHALLENGER, **WHY)
    with pytest.raises(RegistryError, match=f"A canary has a share greater than 0.*{observed}.*--share 0.1"):
        local.set_rollout("m", mode, share, **WHY)
    assert local.desired("m").generation == 2


def test_a_rollout_needs_a_challenger_and_a_challenger_another_version(registry):
    registry.promote("m", "1", **WHY)
    with pytest.raises(RegistryError, match=r"A rollout is about a challenger.*has none.*--to challenger"):
        registry.set_rollout("m", Mode.SHADOW, **WHY)
    with pytest.raises(RegistryError, match=r"A challenger is another version than the champion.*m 1 is champion"):
        registry.promote("m", "1", Alias.CHALLENGER, **WHY)
    with pytest.raises(RegistryError, match="ghost/champion"):
        registry.set_serving("ghost", False, **WHY)
    assert registry.set_rollout("m", Mode.OFF, **WHY).generation == 1


def test_the_file_is_small_whatever_the_history(local, tmp_path):
    for turn in range(60):
        local.promote("m", str(1 + turn % 2), by="ann", reason="r" * 100)
    folder = tmp_path / "registry/m"
    assert (folder / "aliases.json").stat().st_size > 10_000 and (folder / "desired.json").stat().st_size < 600


def test_a_registry_from_before_is_read_and_its_next_change_writes_the_file(local, tmp_path):
    local.promote("m", "1", **WHY)
    local.promote("m", "2", **WHY)
    expected, file = local.desired("m"), tmp_path / "registry/m/desired.json"
    file.unlink()
    mark = local.state_mark("m")
    assert local.desired("m") == expected and mark is not None
    local.promote("m", "2", **WHY)
    assert file.exists() and local.desired("m") == expected, "also a change that changes nothing"
    assert local.state_mark("m") != mark


def test_a_writer_killed_between_the_two_files_is_made_good(registry, monkeypatch):
    registry.promote("m", "1", **WHY)
    replace = type(registry._store).replace

    def killed(self, model, name, content):
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
def test_a_damaged_file_is_named(local, tmp_path, damage, observed):
    local.promote("m", "1", **WHY)
    file = tmp_path / "registry/m/desired.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **damage}))
    with pytest.raises(RegistryError, match=rf"(?s)desired\.json is one that the registry wrote.*{observed}"):
        local.desired("m")
    file.write_text(file.read_text()[:50])
    with pytest.raises(RegistryError, match=r"JSONDecodeError|Unterminated|Expecting"):
        local.desired("m")


def test_a_damaged_rollout_in_the_history_is_named(local, tmp_path):
    local.promote("m", "1", **WHY)
    file = tmp_path / "registry/m/aliases.json"
    file.write_text(file.read_text().replace('"action"', '"mode": "king", "action"'))
    with pytest.raises(RegistryError, match=r"aliases\.json is one that the registry wrote.*king"):
        local.aliases("m")


def test_what_is_written_is_read():
    state = Desired(generation=7, champion="3", challenger="4", mode=Mode.CANARY, share=0.125, previous="2", by="Zoë")
    assert rollout.decode(state.encode()) == state
    assert rollout.decode(dataclasses.replace(state, serving=False).encode()) != state


def test_changes_at_once_are_all_kept(registry):
    """Object stores too: one writer's file keeps the others waiting."""
    registry.promote("m", "1", **WHY)
    registry.promote("m", "2", Alias.CHALLENGER, **WHY)
    shares = [round(0.1 + number / 20, 2) for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda share: registry.set_rollout("m", Mode.CANARY, share, **WHY), shares))
    assert sorted(change.share for change in registry.history("m")[2:]) == shares
    assert registry.desired("m").generation == 10


def test_a_lock_that_a_killed_writer_left_is_broken_and_a_live_one_is_waited_for(tmp_path, monkeypatch):
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


def test_a_bundle_is_verified_once_by_whoever_promotes_it(registry, monkeypatch):
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


def test_copies_of_remote_bundles_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    registry = Registry(f"memory://{uuid.uuid4().hex}")
    registry.add("m", fill(tmp_path / "staging"))
    with registry.fetched("m", "1") as folder:
        assert manifest.read(folder).identity.version == "1"
    assert not folder.exists()
    registry._store.filesystem.pipe_file(f"{registry._store.root}/m/1/model.onnx", b"altered")
    with pytest.raises(BundleError, match="altered"):
        registry.fetch("m", "1")

    def fail(self, source, target, **options):
        raise OSError("connection lost")

    monkeypatch.setattr(type(registry._store.filesystem), "get_file", fail)
    with pytest.raises(RegistryError, match="connection lost"):
        registry.fetch("m", "1")
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_local_bundle_is_used_where_it_lies(local, tmp_path):
    with local.fetched("m", "1") as folder:
        assert folder == tmp_path / "registry/m/1"
    assert folder.exists()


def test_the_command(local, capsys):
    def run(*words):
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


def test_changes_are_made_together_or_not_at_all_if_others_were_faster(registry):
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


def test_what_no_replica_could_hold_is_refused(registry):
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
def test_no_alias_leads_out_of_the_models_folder(local, version):
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
        look = (lambda: local.fetch("m", "champion")) if file == "aliases.json" else (lambda: local.desired("m"))
        if version is None and file == "desired.json":
            assert look().champion is None  # a model without a champion, which no server takes up
        else:
            with pytest.raises(RegistryError, match=f"A model's {file} is one that the registry wrote"):
                look()
        (place / file).write_text(was)
    assert local.resolve("m", "champion") == "1"


def test_the_secret_of_tosses_is_made_with_the_first_canary_and_stays(registry, tmp_path):
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
