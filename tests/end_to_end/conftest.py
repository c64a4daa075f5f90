"""Runs of `python train.py`, each made once and looked at by many tests."""

from pathlib import Path

import pytest
from chain import MODEL, QUICK, Run, aims_at, shop, train


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chain")


@pytest.fixture(scope="session")
def table(place: Path) -> Path:
    return shop(place / "shop.csv")


@pytest.fixture(scope="session")
def binary(place: Path, table: Path) -> Run:
    return _objective(place, table, "bought", "tracking.wandb=offline", *MODEL)


@pytest.fixture(scope="session")
def multiclass(place: Path, table: Path) -> Run:
    small = ["model=tabm", "model.members=4", "model.width=16", "training.max_epochs=8"]
    return _objective(place, table, "grade", *small, "training.learning_rate=0.01")


@pytest.fixture(scope="session")
def regression(place: Path, table: Path) -> Run:
    return _objective(place, table, "spend", *MODEL)


def _objective(place: Path, table: Path, target: str, *more: str) -> Run:
    """Every objective has its own registry, as the first run in it."""
    job = ["+experiment=table", f"data.path={table}", *aims_at(target), *QUICK, *more]
    return train(place / target, place / f"registry_{target}", *job)


@pytest.fixture(scope="session", params=["binary", "multiclass", "regression"])
def run(request: pytest.FixtureRequest) -> Run:
    return request.getfixturevalue(request.param)
