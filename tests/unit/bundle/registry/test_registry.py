import contextlib
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tidemill.bundle import checksums, manifest
from tidemill.bundle.manifest import Interface
from tidemill.bundle.registry import store
from tidemill.bundle.registry.registry import Alias, Registry
from tidemill.data.schema import Column, Schema
from tidemill.data.target import Target
from tidemill.errors import BundleError, RegistryError
from tidemill.settings import Kind, Objective

WHY = {"by": "ann", "reason": "looks right"}


def fill(folder: Path, size: int = 1000) -> Path:
    """The registry does not look into a model: any bytes will do here."""
    inputs = (Column(name="x", kind=Kind.NUMERIC),)
    target = Target(name="y", objective=Objective.REGRESSION, classes=())
    interface = Interface.of(Schema(columns=inputs), inputs, target)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(bytes(size))
    manifest.write(manifest.compose("m", interface, target, data={}, results={}, settings={}), folder)
    checksums.write(folder)
    return folder


@pytest.fixture
def bundle(tmp_path):
    return fill(tmp_path / "staging")


@pytest.fixture(params=["local", "memory"])
def registry(request, tmp_path):
    return Registry(tmp_path / "registry" if request.param == "local" else f"memory://{uuid.uuid4().hex}")


def test_versions_count_up_and_carry_their_number(registry, bundle):
    assert [registry.add("m", bundle) for _ in range(11)] == [str(number) for number in range(1, 12)]
    assert registry.models() == ["m"]
    assert registry.versions("m")[-2:] == ["10", "11"], "in order of number, not of text"
    assert registry.describe("m", "10").identity.version == "10"
    assert manifest.read(bundle).identity.version is None, "the staging folder stays as it was"
    checksums.verify(registry.fetch("m", "10"))


def test_an_empty_registry_is_empty(registry):
    assert registry.models() == [] and registry.versions("m") == [] and registry.aliases("m") == {}


def test_promote_and_rollback_walk_through_the_champions(registry, bundle):
    for _ in range(3):
        registry.promote("m", registry.add("m", bundle), **WHY)
    registry.promote("m", "3", **WHY)  # again: changes nothing
    assert len(registry.history("m")) == 3
    assert registry.resolve("m", "champion") == "3"
    assert registry.rollback("m", by="bob", reason="worse") == "2"
    assert registry.rollback("m", by="bob", reason="worse") == "1"
    with pytest.raises(RegistryError, match=r"needs a champion before.*only version 1"):
        registry.rollback("m", by="bob", reason="worse")
    registry.promote("m", "3", **WHY)
    assert registry.rollback("m", **WHY) == "1", "the way back leads to what served before"
    last = registry.history("m")[-1]
    assert (last.alias, last.version, last.action, last.by) == ("champion", "1", "rollback", "ann")
    assert last.at.endswith("+00:00")


def test_aliases_are_apart(registry, bundle):
    registry.add("m", bundle), registry.add("m", bundle)
    registry.promote("m", "1", **WHY)
    registry.promote("m", "2", Alias.CANDIDATE, **WHY)
    assert registry.aliases("m") == {"champion": "1", "candidate": "2"}
    assert registry.resolve("m", "candidate") == "2"


def test_what_does_not_exist_is_explained(registry, bundle):
    with pytest.raises(RegistryError, match=r"m/champion in .*versions: none; aliases: none"):
        registry.resolve("m", "champion")
    with pytest.raises(RegistryError, match="versions: none"):
        registry.rollback("m", **WHY)
    registry.add("m", bundle)
    for name in ("7", "champion", "../1", "01", ""):
        with pytest.raises(RegistryError, match="versions: 1; aliases: none"):
            registry.promote("m", name, **WHY)


@pytest.mark.parametrize("name", ["", "..", ".", "../m", "a/b", "/etc", ".hidden", "a\0b", "a\nb", "~", "a b"])
def test_names_that_lead_elsewhere_are_refused(registry, bundle, name):
    with pytest.raises(RegistryError, match="A model's name is letters, digits"):
        registry.add(name, bundle)


def test_an_altered_file_is_never_fetched_or_promoted(tmp_path, bundle):
    registry = Registry(tmp_path / "registry")
    version = registry.add("m", bundle)
    model = tmp_path / "registry/m/1/model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    for use in (registry.fetch, registry.verify, lambda m, v: registry.promote(m, v, **WHY)):
        with pytest.raises(BundleError, match=r"model\.onnx in .* was altered or cut short"):
            use("m", version)
    model.unlink()
    with pytest.raises(BundleError, match=r"model\.onnx is missing"):
        registry.verify("m", version)
    assert registry.aliases("m") == {}


@pytest.mark.parametrize("size", [0, 1, checksums._BLOCK, 2 * checksums._BLOCK + 1])
def test_files_of_any_length_are_summed(tmp_path, size):
    content = (b"0123456789abc" * (size // 13 + 1))[:size]
    (tmp_path / "file").write_bytes(content)
    checksums.write(tmp_path)
    recorded = json.loads((tmp_path / checksums.NAME).read_text())["sha256"]
    assert recorded == {"file": hashlib.sha256(content).hexdigest()}
    checksums.verify(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", '{"sha256": {"../../etc/passwd": "0"}}', '{"sha256": 3}'])
def test_damaged_checksums_are_refused(bundle, content):
    (bundle / "checksums.json").write_text(content)
    with pytest.raises(BundleError, match=r"has a checksums\.json that names its files"):
        checksums.verify(bundle)


def test_a_half_bundle_is_not_added(registry, bundle):
    (bundle / "checksums.json").unlink()
    with pytest.raises(BundleError, match=r"checksums\.json"):
        registry.add("m", bundle)
    assert registry.versions("m") == []


@pytest.mark.parametrize("content", ["{", "[]", '{"history": [{"alias": "champion"}]}'])
def test_damaged_aliases_are_named(tmp_path, bundle, content):
    registry = Registry(tmp_path / "registry")
    registry.add("m", bundle)
    (tmp_path / "registry/m/aliases.json").write_text(content)
    with pytest.raises(RegistryError, match=r"aliases\.json is one that the registry wrote"):
        registry.resolve("m", "champion")


def test_many_adders_get_a_version_each(registry, bundle):
    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda _: registry.add("m", bundle), range(24)))
    assert sorted(map(int, versions)) == list(range(1, 25))
    for version in versions:
        assert registry.describe("m", version).identity.version == version
        registry.verify("m", version)


def test_promotions_at_once_are_all_recorded(tmp_path, bundle):
    registry = Registry(tmp_path / "registry")
    versions = [registry.add("m", bundle) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda version: registry.promote("m", version, **WHY), versions))
    assert sorted(change.version for change in registry.history("m")) == versions


def test_a_killed_writer_leaves_nothing_half(tmp_path):
    """kill -9 at random moments, many times: each version that can be seen is whole, and so are the aliases."""
    writer = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_registry import WHY, Registry, fill
registry, staging = Registry(sys.argv[2]), Path(sys.argv[3])
fill(staging, 2_000_000)
print("ready", flush=True)
while True:
    registry.promote("m", registry.add("m", staging), **WHY)
"""
    registry = Registry(tmp_path / "registry")
    chance = random.Random(0)
    for attempt in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", writer, str(Path(__file__).parent), registry.path, str(tmp_path / f"s{attempt}")],
            stdout=subprocess.PIPE,
        )
        process.stdout.readline()
        time.sleep(chance.uniform(0.0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        for version in registry.versions("m"):
            registry.verify("m", version)
        assert registry.history("m") is not None
    left = [path.name for path in (tmp_path / "registry/m").iterdir() if path.name.startswith(".staging-")]
    for name in left:
        os.utime(tmp_path / "registry/m" / name, (0, 0))
    registry.add("m", fill(tmp_path / "last"))
    assert not [path for path in (tmp_path / "registry/m").iterdir() if path.name.startswith(".staging-")], "swept"


def test_a_full_disk_leaves_the_registry_as_it_was(tmp_path, bundle):
    """A limit on file sizes stands for a full disk: both fail in the middle of a write."""
    registry = Registry(tmp_path / "registry")
    registry.promote("m", registry.add("m", bundle), **WHY)
    large = fill(tmp_path / "large", 3_000_000)
    before = sorted(path.name for path in (tmp_path / "registry/m").iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(
            RegistryError, match=r"can be reached, read and written.*registry/m: .*remedy|File too large"
        ):
            registry.add("m", large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert sorted(path.name for path in (tmp_path / "registry/m").iterdir()) == before
    assert registry.resolve("m", "champion") == "1"


def test_a_really_full_disk(tmp_path):
    mount = tmp_path / "disk"
    mount.mkdir()
    mounted = (
        shutil.which("mount")
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)], capture_output=True, check=False
        ).returncode
    )
    if not mounted:
        pytest.skip("mounting a small disk needs root")
    try:
        registry = Registry(mount / "registry")
        registry.add("m", fill(tmp_path / "small"))
        with pytest.raises(RegistryError, match="No space left on device"):
            registry.add("m", fill(tmp_path / "large", 3_000_000))
        assert registry.versions("m") == ["1"]
        registry.verify("m", "1")
        assert registry.add("m", tmp_path / "small") == "2"
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_aliases_survive_a_failing_write(tmp_path, bundle, monkeypatch):
    registry = Registry(tmp_path / "registry")
    registry.promote("m", registry.add("m", bundle), **WHY)
    registry.add("m", bundle)
    before = (tmp_path / "registry/m/aliases.json").read_bytes()

    def fail(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_sync", fail)
    with pytest.raises(RegistryError, match="No space left on device"):
        registry.promote("m", "2", **WHY)
    assert (tmp_path / "registry/m/aliases.json").read_bytes() == before
    assert not list((tmp_path / "registry/m").glob(".staging-*"))


def test_object_store_half_bundles_are_invisible_keep_their_number_and_are_swept(bundle):
    registry = Registry(f"memory://{uuid.uuid4().hex}")
    files, root = registry._store.filesystem, registry._store.root
    files.pipe_file(f"{root}/m/1/.claim", str(time.time()).encode())  # a writer at work
    files.pipe_file(f"{root}/m/1/model.onnx", b"half")
    files.pipe_file(f"{root}/m/2/.claim", str(time.time() - 2 * 86_400).encode())  # one killed long ago
    assert registry.models() == [] and registry.versions("m") == []
    assert registry.add("m", bundle) == "2"
    assert registry.versions("m") == ["2"]
    assert files.exists(f"{root}/m/1/model.onnx") and not files.exists(f"{root}/m/3")


def test_object_store_failures_leave_nothing(bundle, monkeypatch):
    registry = Registry(f"memory://{uuid.uuid4().hex}")
    put = type(registry._store.filesystem).put_file

    def fail(self, source, target, **options):
        if target.endswith("checksums.json"):
            raise OSError("connection lost")
        return put(self, source, target, **options)

    monkeypatch.setattr(type(registry._store.filesystem), "put_file", fail)
    with pytest.raises(RegistryError, match="connection lost"):
        registry.add("m", bundle)
    assert registry.models() == []


def test_a_registry_that_cannot_be_reached_is_explained(tmp_path, bundle):
    with pytest.raises(RegistryError, match=r"can be reached, read and written.*nosuch"):
        Registry("nosuch://bucket/registry")
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryError, match="can be reached"):
        Registry(tmp_path / "file").add("m", bundle)


def test_fetched_copies_of_remote_bundles_are_whole(bundle):
    registry = Registry(f"memory://{uuid.uuid4().hex}")
    registry.add("m", bundle)
    folder = registry.fetch("m", "1")
    try:
        assert json.loads((folder / "manifest.json").read_text())["identity"]["version"] == "1"
        checksums.verify(folder)
    finally:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)
