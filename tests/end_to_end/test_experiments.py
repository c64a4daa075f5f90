"""Every experiment in conf/experiment composes and lives through a fast pass."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from chain import QUICK, ROOT, train

from tidemill.evaluation import slices

pytestmark = pytest.mark.slow

FAST = [*QUICK, "training.max_epochs=1", "model.width=16", "evaluation.baselines=[]"]


def adult(place: Path) -> list[str]:
    """Train and test in two files, as published."""
    random = np.random.default_rng(3)
    files = []
    for name, rows in (("train", 500), ("test", 200)):
        age = random.integers(17, 90, rows)
        table = pl.DataFrame(
            {
                "age": age,
                "workclass": random.choice(["Private", "?", "State-gov"], rows),
                "sex": random.choice(["Female", "Male"], rows),
                "race": random.choice(["White", "Black", "Other"], rows),
                "income": np.where(age + random.normal(0, 10, rows) > 55, ">50K", "<=50K"),
            }
        )
        files.append(place / f"adult_{name}.csv")
        table.write_csv(files[-1])
    return [f"data.path={files[0]}", f"data.test_path={files[1]}", "model.members=4"]


def california(place: Path) -> list[str]:
    random = np.random.default_rng(4)
    income, rooms = random.gamma(4, 1, 500), random.normal(5, 1, 500)
    value = income / 2 + random.normal(0, 0.5, 500)
    pl.DataFrame({"income": income, "rooms": rooms, "median_house_value": value}).write_csv(place / "california.csv")
    return [f"data.path={place / 'california.csv'}", "model.members=4"]


def covtype(place: Path) -> list[str]:
    random = np.random.default_rng(5)
    elevation = random.uniform(1800, 3800, 700)
    cover = np.clip((elevation - 1800) // 280 + random.integers(0, 2, 700), 1, 7).astype(np.int64)
    table = pl.DataFrame({"Elevation": elevation, "Slope": random.integers(0, 60, 700), "Cover_Type": cover})
    table.write_parquet(place / "covtype.parquet")
    return [f"data.path={place / 'covtype.parquet'}"]


def flights(place: Path) -> list[str]:
    """The first days of January of the real flights, cut by time within these days."""
    days = ["data.split.validation_from=2013-01-04T00:00", "data.split.test_from=2013-01-05T00:00"]
    return ["data.limit=4000", *days]


JOBS = {"adult": adult, "california": california, "covtype": covtype, "flights": flights, "flights_live": flights}


def test_every_experiment_is_run() -> None:
    """`table` is, in test_table.py."""
    assert {*JOBS, "table"} == {path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml")}


@pytest.mark.parametrize("experiment", JOBS)
def test_a_fast_pass(experiment: str, tmp_path: Path) -> None:
    words = [f"+experiment={experiment}", *JOBS[experiment](tmp_path), *FAST]
    run = train(tmp_path / "run", tmp_path / "registry", *words)
    assert run.name == experiment
    assert run.result["version"] == "1"
    inputs = {entry["name"] for entry in run.manifest["interface"]["inputs"]}
    test = run.manifest["results"]["test"]
    if experiment.startswith("flights"):
        assert ("origin_delay" in inputs) == (experiment == "flights_live")
        assert {"scheduled_departure", "carrier", "dest"} <= inputs
        assert not {name for name in inputs if "arr_delay" in name or "flight_id" in name}
        assert {"origin", "carrier"} <= {entry["column"] for entry in test["slices"]}
        assert sum(run.manifest["data"]["rows"].values()) == 4000
    if experiment == "adult":
        assert run.manifest["data"]["rows"] == {"train": 400, "validation": 100, "test": 200}
        assert {"sex", "race"} == {entry["column"] for entry in test["slices"]} - {slices.SEEN}
