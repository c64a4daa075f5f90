"""What a worker process meets comes back as an error, also when it is its own death."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from small_bundle import Small
from tidemill.bulk import pool
from tidemill.bulk.inputs import Chunk
from tidemill.bulk.worker import Model, Work, Worker
from tidemill.bundle import checksums
from tidemill.errors import BundleError, SettingsError


class Deadly:
    """Ends the process that unpickles it, as the kernel does when memory runs out."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (9,)


@pytest.fixture
def work(small_multiclass: Small, tmp_path: Path) -> Work:
    model = Model(registry="", name="small", alias="1")
    return Work(model=model, bundle=small_multiclass.folder, output=tmp_path, kept={}, quarantine=False)


def chunk(content: Deadly | pl.DataFrame) -> Chunk:
    return Chunk(file=0, number=7, path="table.csv", first=700, content=content, schema=None)


def test_a_worker_that_dies_is_told_from_one_that_ends(work: Work) -> None:
    with pytest.raises(SettingsError, match=r"exit status 9 at table\.csv, rows 700 and after\. .*repeat the command"):
        list(pool.score(iter([chunk(Deadly())]), work, 1))


def test_a_fault_of_ours_comes_with_its_trace(work: Work) -> None:
    with pytest.raises(RuntimeError, match=r"failed at table\.csv, rows 700(?s:.*)AttributeError.*'NoneType'"):
        list(pool.score(iter([chunk(pl.DataFrame({"a": [1]}))]), work, 1))


def test_a_bundle_that_is_altered_stops_the_start(
    work: Work, small_multiclass: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / checksums.NAME).write_text(json.dumps({"sha256": {"model.onnx": "0"}}))
    with pytest.raises(BundleError, match=r"names all of its files"):
        list(pool.score(iter([]), dataclasses.replace(work, bundle=tmp_path), 1))


def test_the_environment_is_as_before(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    for before in (None, "3"):
        monkeypatch.delenv("POLARS_MAX_THREADS", raising=False)
        if before is not None:
            monkeypatch.setenv("POLARS_MAX_THREADS", before)
        with pool._one_polars_thread():
            assert os.environ["POLARS_MAX_THREADS"] == "1"
        assert os.environ.get("POLARS_MAX_THREADS") == before


def test_a_worker_verifies_the_signature_itself(small_multiclass: Small, registry: str, tmp_path: Path) -> None:
    public = tmp_path / "none.pub"
    model = Model(registry=registry, name="small", alias="1", public_key=public)
    work = Work(model=model, bundle=small_multiclass.folder, output=tmp_path / "out", kept={}, quarantine=False)
    with pytest.raises(SettingsError, match="The public key is a PEM file"):
        Worker(work)
