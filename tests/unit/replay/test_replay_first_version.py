"""The beginning of a replay: the experiment as train.py composes it, its base table, its first champion."""

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from replay_parts import BEGIN, ROOT, data_settings, records, registry_of, target, worse

from tidemill.bundle import checksums, manifest
from tidemill.bundle.registry.registry import Alias, Registry
from tidemill.data import sources
from tidemill.data.labels.maturity import Maturity
from tidemill.data.reading import collect
from tidemill.data.schema import Role
from tidemill.errors import RegistryError, ReplayError, SchemaError, SettingsError
from tidemill.replay import first_version
from tidemill.replay.first_version import Experiment
from tidemill.replay.table.window import Before, TimeWindow


def experiment(path: Path, **changes: Any) -> Experiment:
    data = data_settings(path, time="at", target="grade", **changes)
    return Experiment(words=("+experiment=table", "name=small"), name="small", data=data, margin=0.01)


@pytest.mark.slow
def test_the_experiment_is_what_train_py_makes_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    found = Experiment.composed(["+experiment=flights", "gate.margin=0.02", "data.options.origin_delay=true"])
    assert (found.name, found.margin, found.data.time) == ("flights", 0.02, "scheduled_departure")
    assert found.data.options == {"origin_delay": True}
    with pytest.raises(SettingsError, match=r"no experiment=fligths.*--cfg job"):
        Experiment.composed(["+experiment=fligths"])
    with pytest.raises(SettingsError, match=r"training\.max_epochs.*-1"):
        Experiment.composed(["+experiment=flights", "training.max_epochs=-1"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=r"no train\.py in"):
        Experiment.composed(["+experiment=flights"])


def table_of(path: Path, hours: int = 60) -> pl.DataFrame:
    table = records(hours)
    table.write_parquet(path)
    return table


SINCE = BEGIN + timedelta(days=30)
STRETCH = TimeWindow(
    since=SINCE, until=None, last=SINCE, per_day=1.0, maturity=Maturity(age=timedelta(hours=2), share=0.95)
)


def base(one: Experiment, table: pl.DataFrame, folder: Path, shuffled: int | None = None) -> first_version.Base:
    """Labels are known an hour after the record."""
    late = table.with_columns(label_known_at=pl.col("at") + timedelta(hours=1))
    return first_version.base(one, STRETCH, Before(table=late, label_time="label_known_at"), folder, shuffled)


def test_the_base_table_is_a_file_of_its_own(tmp_path: Path) -> None:
    table = table_of(tmp_path / "t.parquet")
    one = experiment(tmp_path / "t.parquet", options={"separator": ","}, format="parquet", limit=10)
    found = base(one, table, tmp_path)
    assert found.words == (
        "train.py",
        "+experiment=table",
        "name=small",
        "name='small'",
        "~data.options.separator",
        "data.source=production",
        "data.options.base=files",
        "data.options.until='2013-04-30T22:00:00+00:00'",
        "data.options.label_time='label_known_at'",
        "data.options.labels_before='2013-05-01T00:00:00+00:00'",
        "data.options.records=null",
        f"data.path='{tmp_path / 'before.parquet'}'",
        "data.format=auto",
        "data.limit=null",
        "data.split.method=time",
        "data.split.validation_from=null",
        "data.split.test_from=null",
    )
    assert pl.read_parquet(tmp_path / "before.parquet").drop("label_known_at").equals(table)
    assert (found.target.name, found.target.classes, found.spread) == ("grade", ("mid", "ä-high"), None)
    assert found.schema["at"].role is Role.TIME
    read = collect(sources.open(found.data))
    assert read.height == 60 and set(read.columns) == set(table.columns)


def test_what_training_would_refuse_is_refused_before(tmp_path: Path) -> None:
    table = table_of(tmp_path / "t.parquet").with_columns(grade=pl.lit("mid"))
    with pytest.raises(SchemaError, match="at least two different values"):
        base(experiment(tmp_path / "t.parquet"), table, tmp_path)
    with pytest.raises(SettingsError, match=r"data\.test_path"):
        base(experiment(tmp_path / "t.parquet", test_path="x.csv"), table, tmp_path)


def test_shuffled_labels_are_the_same_ones_in_another_order(tmp_path: Path) -> None:
    table = pl.concat([table_of(tmp_path / "t.parquet")] * 500)  # of many pages, which are not all read at once
    base(experiment(tmp_path / "t.parquet"), table, tmp_path, 7)
    found = pl.read_parquet(tmp_path / "before.parquet")
    assert found.drop("grade", "label_known_at").equals(table.drop("grade"))
    assert found["grade"].to_list() != table["grade"].to_list()
    assert sorted(found["grade"]) == sorted(table["grade"])


def test_a_regression_has_a_spread(tmp_path: Path) -> None:
    table = table_of(tmp_path / "t.parquet")
    one = experiment(tmp_path / "t.parquet")
    one = replace(one, data=replace(one.data, target="size"))
    spread = table["size"].std(ddof=0)
    assert base(one, table, tmp_path).spread == pytest.approx(spread)


def test_the_first_champion(small_multiclass: Any, tmp_path: Path) -> None:
    other = registry_of(small_multiclass.folder, tmp_path / "other")
    other.promote(
        "small", other.add("small", worse(tmp_path / "other" / "bundle", tmp_path / "worse")), by="m", reason=""
    )
    one, own = experiment(tmp_path / "t.parquet"), Registry(tmp_path / "own")
    schema, goal = first_version.take(one, other.path, own)
    assert (schema, goal) == (other.describe("small", "2").schema, target())
    assert first_version.champion(one, own, tmp_path / "first", anyhow=False) == "1"
    assert own.describe("small", "1").interface == other.describe("small", "2").interface
    with pytest.raises(RegistryError):
        first_version.take(one, str(tmp_path / "nothing"), own)
    refused = Registry(tmp_path / "refused")
    shutil.copytree(tmp_path / "worse", tmp_path / "judged")
    described = manifest.read(tmp_path / "judged")
    gate = {"passed": False, "reasons": ["It does not beat the trivial baseline for certain."]}
    manifest.write(replace(described, results={**described.results, "gate": gate}), tmp_path / "judged")
    checksums.write(tmp_path / "judged")
    refused.promote("small", refused.add("small", tmp_path / "judged"), Alias.CANDIDATE, by="m", reason="")
    with pytest.raises(ReplayError) as error:
        first_version.champion(one, refused, tmp_path / "first", anyhow=False)
    assert "it refused small 1: It does not beat the trivial baseline for certain." in error.value.observed
    assert f"{tmp_path}/first/bundle/report.html" in error.value.observed
    assert "run it again: nothing was sent" in error.value.remedy
    assert first_version.champion(one, refused, tmp_path / "first", anyhow=True) == "1"
    assert refused.aliases("small")[Alias.CHAMPION] == "1"
