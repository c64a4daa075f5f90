"""Writers at once, killed writers, full disks, and object stores that fail."""

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
from typing import Any

import pytest
from registry_parts import WHY, bundle, fill, registry

from tidemill import durable
from tidemill.bundle import checksums
from tidemill.bundle.registry.registry import Registry
from tidemill.errors import RegistryError

__all__ = ["bundle", "registry"]


def test_many_adders_get_a_version_each(registry: Registry, bundle: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda _: registry.add("m", bundle), range(24)))
    assert sorted(map(int, versions)) == list(range(1, 25))
    for version in versions:
        assert registry.describe("m", version).identity.version == version
        registry.verify("m", version)


def test_promotions_at_once_are_all_recorded(tmp_path: Path, bundle: Path) -> None:
    registry = Registry(tmp_path / "registry")
    versions = [registry.add("m", bundle) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda version: registry.promote("m", version, **WHY), versions))
    assert sorted(change.version for change in registry.history("m")) == versions


@pytest.mark.slow
def test_a_killed_writer_leaves_nothing_half(tmp_path: Path) -> None:
    """kill -9 at random moments, many times: each version that can be seen is whole, and so are the aliases."""
    writer = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from registry_parts import WHY, Registry, fill
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


def test_a_full_disk_leaves_the_registry_as_it_was(tmp_path: Path, bundle: Path) -> None:
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


def test_a_really_full_disk(tmp_path: Path) -> None:
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


def test_aliases_survive_a_failing_write(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(tmp_path / "registry")
    registry.promote("m", registry.add("m", bundle), **WHY)
    registry.add("m", bundle)
    before = (tmp_path / "registry/m/aliases.json").read_bytes()

    def fail(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "sync", fail)
    with pytest.raises(RegistryError, match="No space left on device"):
        registry.promote("m", "2", **WHY)
    assert (tmp_path / "registry/m/aliases.json").read_bytes() == before
    assert not list((tmp_path / "registry/m").glob(".staging-*"))


def test_object_store_half_bundles_are_invisible_keep_their_number_and_are_swept(bundle: Path) -> None:
    registry = Registry(f"memory://{uuid.uuid4().hex}")
    files, root = registry._store.filesystem, registry._store.root
    files.pipe_file(f"{root}/m/1/.claim", str(time.time()).encode())  # a writer at work
    files.pipe_file(f"{root}/m/1/model.onnx", b"half")
    files.pipe_file(f"{root}/m/2/.claim", str(time.time() - 2 * 86_400).encode())  # one killed long ago
    assert registry.models() == [] and registry.versions("m") == []
    assert registry.add("m", bundle) == "2"
    assert registry.versions("m") == ["2"]
    assert files.exists(f"{root}/m/1/model.onnx") and not files.exists(f"{root}/m/3")


def test_object_store_failures_leave_nothing(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(f"memory://{uuid.uuid4().hex}")
    put = type(registry._store.filesystem).put_file

    def fail(self: Any, source: str, target: str, **options: Any) -> None:
        if target.endswith("checksums.json"):
            raise OSError("connection lost")
        return put(self, source, target, **options)

    monkeypatch.setattr(type(registry._store.filesystem), "put_file", fail)
    with pytest.raises(RegistryError, match="connection lost"):
        registry.add("m", bundle)
    assert registry.models() == []


def test_a_registry_that_cannot_be_reached_is_explained(tmp_path: Path, bundle: Path) -> None:
    with pytest.raises(RegistryError, match=r"can be reached, read and written.*nosuch"):
        Registry("nosuch://bucket/registry")
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryError, match="can be reached"):
        Registry(tmp_path / "file").add("m", bundle)


def test_fetched_copies_of_remote_bundles_are_whole(bundle: Path) -> None:
    registry = Registry(f"memory://{uuid.uuid4().hex}")
    registry.add("m", bundle)
    with registry.fetched("m", "1", verify=False) as folder:
        assert json.loads((folder / "manifest.json").read_text())["identity"]["version"] == "1"
        checksums.verify(folder)
