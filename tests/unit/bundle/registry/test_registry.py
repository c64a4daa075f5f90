import hashlib
import json
from pathlib import Path

import pytest
from registry_parts import WHY, bundle, registry

from tidemill.bundle import checksums, manifest
from tidemill.bundle.registry.registry import Alias, Registry
from tidemill.errors import BundleError, RegistryError

__all__ = ["bundle", "registry"]


def test_versions_count_up_and_carry_their_number(registry: Registry, bundle: Path) -> None:
    assert [registry.add("m", bundle) for _ in range(11)] == [str(number) for number in range(1, 12)]
    assert registry.models() == ["m"]
    assert registry.versions("m")[-2:] == ["10", "11"], "in order of number, not of text"
    assert registry.describe("m", "10").identity.version == "10"
    assert manifest.read(bundle).identity.version is None, "the staging folder stays as it was"
    registry.verify("m", "10")


def test_an_empty_registry_is_empty(registry: Registry) -> None:
    assert registry.models() == [] and registry.versions("m") == [] and registry.aliases("m") == {}


def test_promote_and_rollback_walk_through_the_champions(registry: Registry, bundle: Path) -> None:
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


def test_aliases_are_apart(registry: Registry, bundle: Path) -> None:
    registry.add("m", bundle), registry.add("m", bundle)
    registry.promote("m", "1", **WHY)
    registry.promote("m", "2", Alias.CANDIDATE, **WHY)
    assert registry.aliases("m") == {"champion": "1", "candidate": "2"}
    assert registry.resolve("m", "candidate") == "2"


def test_what_does_not_exist_is_explained(registry: Registry, bundle: Path) -> None:
    with pytest.raises(RegistryError, match=r"m/champion in .*; there is no model in it"):
        registry.resolve("m", "champion")
    with pytest.raises(RegistryError, match="there is no model in it"):
        registry.rollback("m", **WHY)
    registry.add("cars", bundle)
    with pytest.raises(RegistryError, match=r"no model of that name; did you mean cars\?"):
        registry.resolve("car", "champion")
    with pytest.raises(RegistryError, match="the models there are cars"):
        registry.resolve("m", "champion")
    registry.add("m", bundle)
    for name in ("7", "champion", "../1", "01", ""):
        with pytest.raises(RegistryError, match="versions: 1; aliases: none"):
            registry.promote("m", name, **WHY)


@pytest.mark.parametrize("name", ["", "..", ".", "../m", "a/b", "/etc", ".hidden", "a\0b", "a\nb", "~", "a b"])
def test_names_that_lead_elsewhere_are_refused(registry: Registry, bundle: Path, name: str) -> None:
    with pytest.raises(RegistryError, match="A model's name is letters, digits"):
        registry.add(name, bundle)


def test_an_altered_file_is_never_fetched_or_promoted(tmp_path: Path, bundle: Path) -> None:
    registry = Registry(tmp_path / "registry")
    version = registry.add("m", bundle)
    model = tmp_path / "registry/m/1/model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    for use in (registry.verify, lambda m, v: registry.promote(m, v, **WHY)):
        with pytest.raises(BundleError, match=r"model\.onnx in .* was altered or cut short"):
            use("m", version)
    model.unlink()
    with pytest.raises(BundleError, match=r"model\.onnx is missing"):
        registry.verify("m", version)
    assert registry.aliases("m") == {}


@pytest.mark.parametrize("size", [0, 1, checksums._BLOCK, 2 * checksums._BLOCK + 1])
def test_files_of_any_length_are_summed(tmp_path: Path, size: int) -> None:
    content = (b"0123456789abc" * (size // 13 + 1))[:size]
    (tmp_path / "file").write_bytes(content)
    checksums.write(tmp_path)
    recorded = json.loads((tmp_path / checksums.NAME).read_text())["sha256"]
    assert recorded == {"file": hashlib.sha256(content).hexdigest()}
    checksums.verify(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", '{"sha256": {"../../etc/passwd": "0"}}', '{"sha256": 3}'])
def test_damaged_checksums_are_refused(bundle: Path, content: str) -> None:
    (bundle / "checksums.json").write_text(content)
    with pytest.raises(BundleError, match=r"has a checksums\.json that names its files"):
        checksums.verify(bundle)


def test_a_half_bundle_is_not_added(registry: Registry, bundle: Path) -> None:
    (bundle / "checksums.json").unlink()
    with pytest.raises(BundleError, match=r"checksums\.json"):
        registry.add("m", bundle)
    assert registry.versions("m") == []


@pytest.mark.parametrize("content", ["{", "[]", '{"history": [{"alias": "champion"}]}'])
def test_damaged_aliases_are_named(tmp_path: Path, bundle: Path, content: str) -> None:
    registry = Registry(tmp_path / "registry")
    registry.add("m", bundle)
    (tmp_path / "registry/m/aliases.json").write_text(content)
    with pytest.raises(RegistryError, match=r"aliases\.json is one that the registry wrote"):
        registry.resolve("m", "champion")
