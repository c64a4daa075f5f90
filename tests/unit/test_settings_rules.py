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
