"""The beginning of a replay: the experiment as train.py composes it, its base table, its first champion, the policy."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from replay_parts import BEGIN, ROOT, data_settings, records, registry_of, worse

from tidemill.bundle.registry import Alias, Registry
from tidemill.errors import RegistryError, ReplayError, SettingsError
from tidemill.replay import beginning
from tidemill.replay.beginning import Experiment


def experiment(path: Path, **changes: Any) -> Experiment:
    data = data_settings(path, time="at", target="grade", **changes)
    return Experiment(words=("+experiment=table", "name=small"), name="small", data=data, margin=0.01)


def test_the_experiment_is_what_train_py_makes_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    found = Experiment.composed(["+experiment=flights", "gate.margin=0.02", "data.options.origin_delay=true"])
    assert (found.name, found.margin, found.data.time) == ("flights", 0.02, "scheduled_departure")
    assert found.data.options == {"origin_delay": True}
    with pytest.raises(SettingsError, match=r"no experiment=fligths.*--cfg job"):
        Experiment.composed(["+experiment=fligths"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=r"no train\.py in"):
        Experiment.composed(["+experiment=flights"])


def test_the_base_table_is_cut(tmp_path: Path) -> None:
    words = beginning.before(experiment(tmp_path / "t.parquet", source="flights"), BEGIN, tmp_path, None)
    assert words == [
        "+experiment=table",
        "name=small",
        "data.source=production",
        "data.options.base=flights",
        "data.options.until=2013-04-01T00:00:00",
        "data.options.records=null",
        "data.split.method=time",
        "data.split.validation_from=null",
        "data.split.test_from=null",
    ]


@pytest.mark.parametrize("as_text", [False, True])
def test_shuffled_labels_are_written_into_a_table_of_their_own(tmp_path: Path, as_text: bool) -> None:
    table = records(60)
    stored = table.with_columns(pl.col("at").dt.strftime("%Y-%m-%d %H:%M:%S")) if as_text else table
    stored.write_parquet(tmp_path / "t.parquet")
    since = datetime(2013, 4, 2, tzinfo=UTC)
    one = experiment(tmp_path / "t.parquet", options={"separator": ","})
    words = beginning.before(one, since, tmp_path, 7)
    assert "~data.options.separator" in words and "data.options.base=files" in words
    assert f"data.path='{tmp_path / 'shuffled.parquet'}'" in words and "data.options.until=null" in words
    found, before = pl.read_parquet(tmp_path / "shuffled.parquet"), table.filter(pl.col("at") < since)
    assert found.height == before.height == 24
    assert found["id"].to_list() == before["id"].to_list()
    assert found["grade"].to_list() != before["grade"].to_list()
    assert sorted(found["grade"]) == sorted(before["grade"])
    with pytest.raises(ReplayError, match=r"data\.time=None"):
        nameless = Experiment(words=(), name="s", data=data_settings(tmp_path / "t.parquet"), margin=0.01)
        beginning.before(nameless, since, tmp_path, 7)


def test_the_first_champion(small_multiclass: Any, tmp_path: Path) -> None:
    other = registry_of(small_multiclass.folder, tmp_path / "other")
    other.promote(
        "small", other.add("small", worse(tmp_path / "other" / "bundle", tmp_path / "worse")), by="m", reason=""
    )
    one, own = experiment(tmp_path / "t.parquet"), Registry(tmp_path / "own")
    beginning.take(one, other.path, own)
    assert beginning.champion(one, own, anyhow=False) == "1"
    assert own.describe("small", "1").interface == other.describe("small", "2").interface
    with pytest.raises(RegistryError):
        beginning.take(one, str(tmp_path / "nothing"), own)
    refused = Registry(tmp_path / "refused")
    refused.promote("small", refused.add("small", tmp_path / "worse"), Alias.CANDIDATE, by="m", reason="")
    with pytest.raises(ReplayError, match="small 1 did not become champion"):
        beginning.champion(one, refused, anyhow=False)
    assert beginning.champion(one, refused, anyhow=True) == "1"
    assert refused.aliases("small")[Alias.CHAMPION] == "1"


def test_the_policy_is_ours_with_the_users_over_it(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("mode: observe\ntime: {period_hours: 6}\n")
    whole = beginning.policy(tmp_path / "mine.yaml", ["+experiment=flights"], tmp_path / "policy.yaml")
    found = yaml.safe_load((tmp_path / "policy.yaml").read_text())
    assert found["time"]["period_hours"] == 6 and found["time"]["clock"] == "event" and found["mode"] == "observe"
    assert found["retrain"]["command"][1:4] == ["train.py", "+experiment=flights", "evaluation.baselines=[]"]
    assert (str(whole.mode), whole.time.period_hours, whole.time.grace_hours) == ("observe", 6, 0.0)
    (tmp_path / "mine.yaml").write_text("trial: {minimun: 3}")
    with pytest.raises(SettingsError, match=r"trial\.minimun.*did you mean trial\.minimum"):
        beginning.policy(tmp_path / "mine.yaml", [], tmp_path / "policy.yaml")
    (tmp_path / "mine.yaml").write_text("mode: [")
    for file in (tmp_path / "mine.yaml", tmp_path / "none.yaml"):
        with pytest.raises(SettingsError, match="--policy names a YAML file"):
            beginning.policy(file, [], tmp_path / "policy.yaml")


def test_a_folder_of_its_own(tmp_path: Path) -> None:
    beginning.fresh(tmp_path / "new" / "one")
    beginning.fresh(tmp_path / "new" / "one")
    (tmp_path / "new" / "one" / "ledger").mkdir()
    with pytest.raises(ReplayError, match=r"one holds ledger.*--folder"):
        beginning.fresh(tmp_path / "new" / "one")
