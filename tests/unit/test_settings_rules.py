"""Settings that keep their types and still cannot work are refused before any data is read, by full key."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hydra
import pytest
from omegaconf import OmegaConf

from tidemill.errors import SettingsError
from tidemill.settings import from_config

CONF = Path(__file__).parents[2] / "conf"
BY_TIME = ["data.split.method=time", "data.time=when"]
RATIO = "name: r, operation: ratio, table: {}, default: 0.0"


@pytest.fixture(autouse=True)
def _hydra() -> Iterator[None]:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def composed(*overrides: str) -> dict[str, Any]:
    config = OmegaConf.to_container(hydra.compose("config", list(overrides)), resolve=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.split.test_from=July"], "data.split.test_from = 'July': must be an instant in ISO 8601"),
        (
            [*BY_TIME, "data.split.validation_from=2013-07-01", "data.split.test_from=2013-06-01T12:00:00Z"],
            "data.split.validation_from = '2013-07-01': must lie before data.split.test_from = '2013-06-01T12:00:00Z'",
        ),
        (["data.split.method=time"], "data.time = None: must name a column, for data.split.method=time"),
        (["data.split.method=grouped"], "data.group = None: must name a column, for data.split.method=grouped"),
        (["+data.quality.ranges.age=[0]"], "data.quality.ranges.age = [0]: must be [smallest, largest]"),
        (["+data.quality.ranges.age=[a,b]"], "data.quality.ranges.age = ['a', 'b']: must be [smallest, largest]"),
        (["evaluation.baselines=[forest,boost]"], "evaluation.baselines[1] = 'boost': must be one of trivial, linear"),
        (["preparation.numeric.missing_value=inf"], "preparation.numeric.missing_value = inf: must be a finite number"),
        (
            [f"preparation.features=[{{{RATIO}, columns: [age]}}]"],
            "preparation.features[0].columns = ['age']: must name 2, for a ratio",
        ),
        (
            ["preparation.features=[{name: r, operation: lookup, table: {}, default: 0.0, columns: [a, b]}]"],
            "preparation.features[0].columns = ['a', 'b']: must name 1, for a lookup",
        ),
        (
            [*BY_TIME, "data.quality.duplicates=group"],
            "data.quality.duplicates = 'group': needs data.split.method=random, not time",
        ),
    ],
)
def test_what_cannot_work_is_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        from_config(composed(*overrides))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.split.method=grouped", "data.schema=pinned.yaml"],  # the schema may have the role
        [*BY_TIME, "data.split.validation_from=2013-06-01", "data.test_path=t.csv", "data.split.test_from=2013-01-01"],
        [
            *BY_TIME,
            "data.split.validation_from=2013-06-01",
            "data.validation_path=v.csv",
            "data.split.test_from=2013-01-01",
        ],
        ["data.quality.duplicates=group", "data.split.method=random"],
        ["+data.quality.ranges.age=[0,null]", "evaluation.baselines=[]"],
        [f"preparation.features=[{{{RATIO}, columns: [age, fare]}}]"],
    ],
)
def test_what_can_work_is_not(overrides: list[str]) -> None:
    from_config(composed(*overrides))


FLIGHTS = ["data.source=flights"]
AGAIN = ["data=production"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["+data.options.seperator=';'"], "data.options.seperator = ';': no such key, there are separator, encoding"),
        (["+data.options.seperator=';'"], "did you mean data.options.separator?"),
        (["+data.options.separator=0"], "data.options.separator = '0': must be one character that stands between"),
        (["+data.options.separator=::"], "data.options.separator = '::': must be one character that stands between"),
        (["+data.options.encoding=klingon"], "data.options.encoding = 'klingon': must be a text encoding"),
        (["+data.options.encoding=hex"], "data.options.encoding = 'hex': must be a text encoding"),
        (["+data.options.columns=a"], "data.options.columns = 'a': must be a list"),
        (["+data.options.skip_lines=-1"], "data.options.skip_lines = -1: must be 0 or greater"),
        ([*FLIGHTS, "+data.options.origin_delay=off"], "data.options.origin_delay = 'off': must be true or false"),
        ([*FLIGHTS, "+data.options.origin=true"], "did you mean data.options.origin_delay?"),
        (["data.source=sql", "+data.options.limit=3"], "data.options.limit = 3: no such key, there are none"),
        (["data.source=production"], "data.options.base = nothing: must be set"),
        ([*AGAIN, "data.options.base=production"], "data.options.base = 'production': must be what data.source was"),
        ([*AGAIN, "data.options.window_days=0"], "data.options.window_days = 0.0: must be greater than 0"),
        ([*AGAIN, "+data.options.window_day=3"], "did you mean data.options.window_days?"),
        ([*AGAIN, "+data.options.separator=0"], "data.options.separator = '0': must be one character"),
    ],
)
def test_an_option_that_its_source_does_not_take_is_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        from_config(composed(*overrides))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["+data.options.separator=';'", "+data.options.skip_lines=2", "+data.options.columns=[a,1]"],
        [*AGAIN, "+data.options.encoding=latin-1"],
        [*AGAIN, "data.options.base=flights", "+data.options.origin_delay=true"],
    ],
)
def test_options_of_a_source_are_taken(overrides: list[str]) -> None:
    from_config(composed(*overrides))


def test_a_source_of_one_s_own_may_say_which_options_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "own_sources"
    package.mkdir()
    for name, more in (("open", ""), ("closed", "@dataclass(kw_only=True)\nclass Options:\n    year: int\n")):
        text = f"from dataclasses import dataclass\ndef read(settings): ...\n{more}"
        (package / f"{name}.py").write_text(text, encoding="utf-8")
    from_config(composed("data.source=own_sources.open", "+data.options.anything=1"))
    from_config(composed("data.source=own_sources.closed", "+data.options.year=2013"))
    with pytest.raises(SettingsError, match=r"did you mean data\.options\.year\?"):
        from_config(composed("data.source=own_sources.closed", "+data.options.years=2013"))
