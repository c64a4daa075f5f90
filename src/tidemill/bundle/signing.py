"""Signatures of bundles: the files are those that the holder of a private key signed, none changed, added or missing.

`model.sig` lies in the bundle's folder and covers every other file there. It is what the package `model-signing` writes
for an elliptic curve key: a Sigstore bundle around an in-toto statement of SHA-256 digests (OpenSSF Model Signing 1.0).
Keys come from openssl:

    openssl ecparam -name prime256v1 -genkey -noout -out key.pem
    openssl ec -in key.pem -pubout -out key.pub
"""

import ast
import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tidemill.errors import BundleError, SettingsError
from tidemill.extras import install

NAME = "model.sig"
_BLOCK = 4 * 2**20
"""Bytes that are read and hashed at once: each time the interpreter is asked for again, which takes it from a replica's
event loop."""


def signature(folder: Path, private_key: Path) -> bytes:
    """The content of the bundle's `model.sig`.

    Raises:
        BundleError: the package is not installed, or the folder holds what cannot be signed, like a link.
        SettingsError: the private key cannot be read or is of another kind.
    """
    library = _library()
    try:
        config = library.signing.Config().use_elliptic_key_signer(private_key=private_key)
    except Exception as error:  # the libraries underneath raise many kinds
        raise _unreadable("private", private_key, error) from error
    with tempfile.TemporaryDirectory() as aside:
        target = Path(aside, NAME)
        try:
            config.set_hashing_config(_covered(library)).sign(folder, target)
        except (OSError, ValueError) as error:
            raise BundleError(
                "A bundle that is signed is a folder of plain files",
                observed=f"{folder}: {error}",
                remedy="export the bundle again and sign that",
            ) from error
        return target.read_bytes()


@contextlib.contextmanager
def verified(folder: Path, public_key: Path) -> Iterator[Path]:
    """A private copy of the bundle, verified: what is read from it was signed, whatever becomes of `folder` meanwhile.

    Raises:
        BundleError: no signature, another key's, a file changed, added or missing; or the package is not installed.
        SettingsError: the public key cannot be read or is of another kind.
    """
    with tempfile.TemporaryDirectory(prefix="bundle-") as private:
        copy = Path(private, "files")
        try:
            shutil.copytree(folder, copy, symlinks=True)
        except OSError as error:
            raise BundleError(
                "A bundle is a folder of files that can be read",
                observed=f"{folder}: {error}",
                remedy="name a folder that holds a whole bundle",
            ) from error
        _verify(copy, public_key, folder)
        yield copy


def check(public_key: Path) -> None:
    """
    Raises:
        BundleError: the package is not installed.
        SettingsError: the public key cannot be read or is of another kind.
    """
    _verifier(public_key)


def _verifier(public_key: Path) -> Any:
    library = _library()
    try:
        return library.verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except Exception as error:  # the libraries underneath raise many kinds
        raise _unreadable("public", public_key, error) from error


def _verify(files: Path, public_key: Path, folder: Path) -> None:
    config = _verifier(public_key)
    if not (files / NAME).is_file():
        raise BundleError(
            "With a public key set, only signed bundles are loaded",
            observed=f"no {NAME} in {folder}",
            remedy="sign it: tidemill registry sign MODEL VERSION --private-key key.pem",
        )
    try:
        config.set_hashing_config(_covered(_library())).verify(files, files / NAME)
    except Exception as error:  # the signature is a stranger's bytes: parsers may raise anything on them
        raise _refusal(error, folder, public_key) from error


def _refusal(error: Exception, folder: Path, public_key: Path) -> BundleError:
    """The library tells an altered folder from a bad signature by its text alone; a test holds the texts."""
    text = str(error)
    if text.startswith(("Signature mismatch: [", "Cannot use")):
        return BundleError(
            "A signed bundle holds the files that were signed, and no others",
            observed=f"{folder}: {_differences(text)}",
            remedy="fetch or export the bundle again, or sign it again if the change is meant",
        )
    return BundleError(
        "A bundle's signature was made with the private key that belongs to the public key",
        observed=f"{folder / NAME} against {public_key}: {text.strip() or type(error).__name__}",
        remedy="set the public key of who signs your bundles; do not load bundles from elsewhere",
    )


def _differences(text: str) -> str:
    """Without digests, whose bytes also decide how the library's list of texts is quoted."""
    if not text.startswith("Signature mismatch: "):
        return text
    found: list[str] = ast.literal_eval(text.removeprefix("Signature mismatch: "))
    return "; ".join(one.split(": Expected")[0] for one in found)


def _covered(library: Any) -> Any:
    """Everything but the signature itself; by default the library would pass over git's files too."""
    config = library.hashing.Config().use_file_serialization(chunk_size=_BLOCK, max_workers=1)
    return config.set_ignored_paths(paths=[NAME], ignore_git_paths=False)


def _library() -> Any:
    try:
        import model_signing.hashing
        import model_signing.signing
        import model_signing.verifying
    except ImportError as error:
        raise BundleError(
            "Bundles are signed and verified with the package model-signing",
            observed=str(error),
            remedy=install("signing"),
        ) from error
    return model_signing


def _unreadable(which: str, path: Path, error: Exception) -> SettingsError:
    return SettingsError(
        f"The {which} key is a PEM file with an elliptic curve key (P-256, P-384 or P-521) without a password",
        observed=f"{path}: {type(error).__name__}: {error}",
        remedy="make a pair: openssl ecparam -name prime256v1 -genkey -noout -out key.pem; "
        "openssl ec -in key.pem -pubout -out key.pub",
    )
