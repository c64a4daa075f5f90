"""Ray Data deals the same chunks to actors: a real Ray on this machine."""

import builtins
import json
import pickle
import re
import tempfile
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from bulk_files import store

import own_ray
from small_bundle import Small
from tidemill.bulk import cluster, inputs, reading
from tidemill.bulk.folder import Folder
from tidemill.bulk.run import Job, _chunks, run
from tidemill.bulk.worker import Model, Work
from tidemill.bundle.predictor import Predictor
from tidemill.bundle.registry.registry import Registry
from tidemill.data.raw import from_table
from tidemill.errors import SettingsError, SourceError

pytestmark = pytest.mark.xdist_group("ray")

SCRIPT = """
import json, sys
from pathlib import Path
from tidemill.bulk.run import Job, run
from tidemill.bulk.worker import Model
from tidemill.errors import SchemaError


registry, path, out = sys.argv[1:]
model = Model(registry=registry, name="small")
job = {"inputs": (path,), "output": Path(out), "rows_per_part": 100, "keep": ("city",)}
parts = lambda: {entry.name: entry.stat().st_ino for entry in Path(out).glob("part-*")}
try:
    run(model, Job(**job), workers=1, ray="local")
except SchemaError as error:
    refused, done = str(error), parts()
summary = run(model, Job(**job, on_error="quarantine"), workers=2, ray="local")
print(json.dumps({"refused": refused, "done": done, "parts": parts(), "summary": summary}))
"""


@pytest.mark.slow
def test_a_cluster_gives_the_same_parts_and_resumes_them(small_multiclass: Any, registry: Any, tmp_path: Path) -> None:
    table = small_multiclass.table.with_columns(open=pl.when(pl.arange(400) == 250).then(None).otherwise("open"))
    out = tmp_path / "out"
    ran = own_ray.run(SCRIPT, registry, store(table, tmp_path / "table.parquet"), out)
    assert ran.returncode == 0, ran.stdout + ran.stderr[-3000:]
    told = json.loads(ran.stdout.splitlines()[-1])
    assert re.search(r"table\.parquet, row 250 .*open: missing", told["refused"])
    assert told["done"] and len(told["done"]) < 4
    assert told["done"].items() <= told["parts"].items()
    summary = told["summary"]
    assert (summary["rows"], summary["quarantined"], summary["parts"]) == (399, 1, 4)
    found = pl.read_parquet(out / "part-*.parquet")
    assert found["row"].to_list() == [row for row in range(400) if row != 250]
    predictor = Predictor(small_multiclass.folder, threads=1)
    answers = predictor.predict(from_table(small_multiclass.table, predictor.columns))
    for i, name in enumerate(small_multiclass.target.classes):
        expected = np.delete(answers["probabilities"][:, i], 250)
        np.testing.assert_array_equal(found[f"probability_{name}"].to_numpy(), expected)


def test_an_actor_keeps_no_copy_of_what_it_has_loaded(
    small_multiclass: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(f"memory://{uuid.uuid4().hex}")
    version = registry.add("small", small_multiclass.folder)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    out = Folder(tmp_path / "out")
    work = Work(
        model=Model(registry=registry.path, name="small", alias=version),
        bundle=Path("on another node"),
        output=out.path,
        kept={},
        quarantine=False,
    )
    file = inputs.look(str(store(small_multiclass.table, tmp_path / "table.parquet")), 0)
    settled = reading.settle([file], registry.describe("small", version).schema, (), [])
    (chunk,) = _chunks(settled, 1000, set())
    actor = cluster._Actor(work)
    assert not list((tmp_path / "temporary").iterdir())
    out.claim({}).close()
    assert pickle.loads(actor({"chunk": pickle.dumps(chunk)})["done"]).answered == 400


def test_files_that_only_one_process_can_read_are_refused(
    small_multiclass: Small, registry: str, tmp_path: Path
) -> None:
    path = store(small_multiclass.table, tmp_path / "table.csv")
    job = Job(inputs=(str(path),), output=tmp_path / "out")
    with pytest.raises(SourceError, match=r"scores Parquet and Arrow files.*table\.csv\. Remedy: leave --ray out"):
        run(Model(registry=registry, name="small"), job, workers=1, ray="local")
    assert not job.output.exists()


UNKNOWN = """
import functools, sys
from pathlib import Path
import ray._private.services
from tidemill.bulk.run import Job, run
from tidemill.bulk.worker import Model
from tidemill.errors import SettingsError

ray._private.services._cached_find_gcs_addresses = functools.cache(set)  # whatever runs on this machine besides

registry, path, out = sys.argv[1:]
for address in ("lcoal", "auto"):
    try:
        run(Model(registry=registry, name="small"), Job(inputs=(path,), output=Path(out)), workers=1, ray=address)
    except SettingsError as error:
        print(error)
"""


@pytest.mark.slow
def test_an_address_of_no_cluster_is_named(small_multiclass: Any, registry: Any, tmp_path: Path) -> None:
    path = store(small_multiclass.table, tmp_path / "table.parquet")
    ran = own_ray.run(UNKNOWN, registry, path, tmp_path / "out", RAY_TMPDIR=str(tmp_path))
    assert ran.returncode == 0, ran.stdout + ran.stderr[-3000:]
    typo, nowhere = ran.stdout.splitlines()
    assert re.match(r"--ray names a Ray that answers.*lcoal: .*Invalid address.*leave --ray out", typo)
    assert re.match(r"--ray names.*auto: ConnectionError: Could not find any running Ray.*leave --ray out", nowhere)


def test_without_ray_data_the_extra_is_named(
    small_multiclass: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = inputs.look(str(store(small_multiclass.table, tmp_path / "table.parquet")), 0)
    importing = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> None:
        if name == "ray.data":
            raise ImportError("No module named 'pyarrow'")
        return importing(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(SettingsError, match=r"needs Ray Data\. Got: No module named 'pyarrow'\. .*-e '\.\[bulk\]'"):
        cluster.check([file])
