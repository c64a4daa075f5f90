import builtins
import json
import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from small_bundle import Small
from tidemill.bundle import checksums, signing
from tidemill.bundle.predictor import Predictor
from tidemill.bundle.registry.registry import Registry
from tidemill.errors import BundleError, RegistryError, SettingsError


def pair(folder: Path, name: str = "key", private: Any = None) -> tuple[Path, ...]:
    """Paths of a private and a public key in PEM."""
    private = private or ec.generate_private_key(ec.SECP256R1())
    files = folder / f"{name}.pem", folder / f"{name}.pub"
    plain = serialization.NoEncryption()
    files[0].write_bytes(
        private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain)
    )
    files[1].write_bytes(
        private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return files


def sign(folder: Path, private_key: Path) -> None:
    (folder / signing.NAME).write_bytes(signing.signature(folder, private_key))


def verify(folder: Path, public_key: Path) -> None:
    with signing.verified(folder, public_key):
        pass


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, ...]:
    return pair(tmp_path)


@pytest.fixture
def signed(small_multiclass: Small, tmp_path: Path, keys: tuple[Path, ...]) -> Path:
    folder = shutil.copytree(small_multiclass.folder, tmp_path / "signed")
    sign(folder, keys[0])
    return folder


def test_a_signed_bundle_is_loaded_and_its_checksums_hold(signed: Path, keys: tuple[Path, ...]) -> None:
    verify(signed, keys[1])
    checksums.verify(signed)
    assert Predictor(signed, public_key=keys[1]).manifest.identity.model == "small"
    sign(signed, keys[0])  # again, in the place of the first
    verify(signed, keys[1])


def test_keys_that_openssl_makes_are_taken(signed: Path, tmp_path: Path) -> None:
    private, public = tmp_path / "made.pem", tmp_path / "made.pub"
    make = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(private)]
    subprocess.run(make, check=True, capture_output=True)
    subprocess.run(
        ["openssl", "ec", "-in", str(private), "-pubout", "-out", str(public)], check=True, capture_output=True
    )
    sign(signed, private)
    verify(signed, public)


def test_an_unsigned_bundle_is_refused(small_multiclass: Small, keys: tuple[Path, ...]) -> None:
    with pytest.raises(BundleError, match=r"only signed bundles are loaded.*no model\.sig in .*registry sign"):
        Predictor(small_multiclass.folder, public_key=keys[1])


def test_another_key_is_refused(signed: Path, tmp_path: Path) -> None:
    other = pair(tmp_path, "other")
    with pytest.raises(BundleError, match=r"made with the private key that belongs.*other\.pub: Key mismatch"):
        verify(signed, other[1])


@pytest.mark.parametrize("how", ["{}", "no JSON", b"\xff", "cut", "hint"])
def test_a_forged_signature_is_refused(signed: Path, keys: tuple[Path, ...], how: bytes | str) -> None:
    path = signed / signing.NAME
    content = json.loads(path.read_text())
    if how == "cut":
        content["dsseEnvelope"]["payload"] = content["dsseEnvelope"]["payload"][:-8] + "AAAA"
    elif how == "hint":  # without the key's name only its mathematics is left
        content["verificationMaterial"]["publicKey"]["hint"] = ""
        content["dsseEnvelope"]["signatures"][0]["sig"] = "AAAA"
    forged = json.dumps(content) if how in ("cut", "hint") else how
    path.write_bytes(forged if isinstance(forged, bytes) else forged.encode())
    with pytest.raises(BundleError, match="made with the private key that belongs"):
        verify(signed, keys[1])


def _change(folder: Path) -> None:
    (folder / "manifest.json").write_text("{}")


def _add(folder: Path) -> None:
    (folder / "more.py").write_text("import os")


def _add_where_git_hides(folder: Path) -> None:
    (folder / ".gitignore").write_text("*")


def _add_below(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "more").write_text("1")


def _remove(folder: Path) -> None:
    (folder / "report.html").unlink()


def _link(folder: Path) -> None:
    (folder / "link").symlink_to("/etc/passwd")


@pytest.mark.parametrize(
    ("alter", "text"),
    [
        (_change, r"Hash mismatch for 'manifest\.json'"),
        (_add, r"Extra files.*more\.py"),
        (_add_where_git_hides, r"Extra files.*\.gitignore"),
        (_add_below, r"Extra files.*sub/more"),
        (_remove, r"Missing files.*report\.html"),
        (_link, "link.*symlink"),
    ],
)
def test_what_was_altered_is_refused_before_it_is_parsed(
    signed: Path, keys: tuple[Path, ...], alter: Callable[..., Any], text: str
) -> None:
    alter(signed)
    with pytest.raises(BundleError, match=rf"holds the files that were signed, and no others.*{text}"):
        Predictor(signed, public_key=keys[1])


def test_checksums_that_were_made_to_fit_do_not_help(signed: Path, keys: tuple[Path, ...]) -> None:
    (signed / "profile.json").write_text('{"a": 1}')
    checksums.write(signed)
    Predictor(signed)
    with pytest.raises(BundleError, match="holds the files that were signed"):
        Predictor(signed, public_key=keys[1])


def test_what_is_read_is_what_was_verified(signed: Path, keys: tuple[Path, ...]) -> None:
    with signing.verified(signed, keys[1]) as files:
        (signed / "model.onnx").write_bytes(b"exchanged after the check")
        checksums.verify(files)
        assert files != signed
    assert not files.exists()


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, keys: tuple[Path, ...]) -> None:
    with (
        pytest.raises(BundleError, match=r"folder of files that can be read.*nowhere"),
        signing.verified(tmp_path / "nowhere", keys[1]),
    ):
        pass


def test_what_cannot_be_signed_is_named(signed: Path, keys: tuple[Path, ...]) -> None:
    _link(signed)
    with pytest.raises(BundleError, match=r"folder of plain files.*symlink"):
        sign(signed, keys[0])


@pytest.mark.parametrize("kind", ["rsa", "missing", "text", "wrong half"])
def test_keys_of_other_kinds_are_named(signed: Path, tmp_path: Path, keys: tuple[Path, ...], kind: str) -> None:
    private, public = tmp_path / "bad.pem", tmp_path / "bad.pub"
    if kind == "rsa":
        private, public = pair(tmp_path, "bad", rsa.generate_private_key(65537, 2048))
    elif kind == "text":
        private.write_text("hello"), public.write_text("hello")
    elif kind == "wrong half":
        public, private = keys
    with pytest.raises(SettingsError, match=r"The private key is a PEM file with an elliptic curve key"):
        sign(signed, private)
    with pytest.raises(SettingsError, match=r"The public key is a PEM file.*openssl ecparam"):
        Predictor(signed, public_key=public)


def test_without_the_package_nothing_passes(
    signed: Path, keys: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> None:
        if name.startswith("model_signing"):
            raise ImportError("No module named 'model_signing'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(
        BundleError, match=r"with the package model-signing.*No module.*install -c constraints.txt -e '\.\[signing\]'"
    ):
        Predictor(signed, public_key=keys[1])


@pytest.mark.parametrize("where", ["local", "memory"])
def test_versions_of_a_registry_are_signed_in_their_place(
    small_multiclass: Small, tmp_path: Path, keys: tuple[Path, ...], where: str
) -> None:
    registry = Registry(tmp_path / "registry" if where == "local" else f"memory://{uuid.uuid4().hex}")
    registry.add("small", small_multiclass.folder)
    for _ in range(2):
        assert registry.sign("small", "1", keys[0]) == "1"
    with registry.fetched("small", "1") as folder:
        assert Predictor(folder, public_key=keys[1]).manifest.identity.version == "1"
        assert {file.name for file in folder.iterdir()} == {
            *(file.name for file in small_multiclass.folder.iterdir()),
            signing.NAME,
        }
        registry.add("small", folder)  # another number: other files
    with registry.fetched("small", "2") as folder:
        assert not (folder / signing.NAME).exists()
    registry.sign("small", "2", keys[0])
    registry.verify("small", "2")
    with pytest.raises(RegistryError, match="small/3"):
        registry.sign("small", "3", keys[0])
