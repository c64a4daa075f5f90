"""A small real bundle, made once: a typed table, a fitted preparation, a network trained for a moment, an export."""

import logging
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from small_bundle import Small
from tidemill.data.schema import Column, Role, Schema
from tidemill.data.target import Target
from tidemill.settings import Kind, Objective


def small_table(rows: int = 400) -> pl.DataFrame:
    random = np.random.default_rng(0)
    size = random.normal(50, 20, rows)
    size[::17] = np.nan
    city = random.choice(["Zürich", "New York", "東京", ""], rows)
    start = datetime(2013, 1, 1, tzinfo=UTC)
    noise = random.normal(0, 5, rows)
    return pl.DataFrame(
        {
            "size": size,
            "value": random.integers(0, 2**30, rows).astype(np.float64),  # named as an answer is
            "city": city,
            "open": random.random(rows) < 0.5,
            "at": [start + timedelta(hours=int(hour)) for hour in random.integers(0, 8000, rows)],
            "constant": np.ones(rows),
            "grade": np.where(
                np.nan_to_num(size, nan=50) + noise > 60, "ä-high", np.where(city == "東京", "low", "mid")
            ),
            "price": np.nan_to_num(size, nan=50) * 1000 + noise,
        },
        schema_overrides={"at": pl.Datetime("us", "UTC")},
    )


def make_small(folder: Path, objective: Objective) -> Small:
    import torch

    from tidemill.bundle import manifest
    from tidemill.bundle.export import export
    from tidemill.bundle.folder import write
    from tidemill.bundle.runtime import Runtime
    from tidemill.composition import build
    from tidemill.data.profiles.profile import profile, profile_answers
    from tidemill.data.raw import from_table
    from tidemill.models.heads import Answering, loss
    from tidemill.preparation.fit import fit
    from tidemill.settings import PreparationSettings

    table = small_table()
    kinds = {"city": Kind.CATEGORICAL, "open": Kind.BOOLEAN, "at": Kind.TIMESTAMP}
    names = ("size", "value", "city", "open", "at", "constant")
    inputs = [Column(name=name, kind=kinds.get(name, Kind.NUMERIC), missing_allowed=name != "open") for name in names]
    regression = objective is Objective.REGRESSION
    name = "price" if regression else "grade"
    kind = Kind.NUMERIC if regression else Kind.CATEGORICAL
    schema = Schema(columns=(*inputs, Column(name=name, kind=kind, role=Role.TARGET)))
    classes = () if regression else ("low", "mid", "ä-high")
    if objective is Objective.BINARY:
        table = table.with_columns(grade=table["grade"].replace({"low": "mid"}))
        classes = ("mid", "ä-high")
    target = Target(name=name, objective=objective, classes=classes)

    settings = yaml.safe_load((Path(__file__).parents[1] / "conf/preparation/default.yaml").read_text())
    preparation = fit(table, schema, build(PreparationSettings, settings))
    prepared = preparation.run(from_table(table, schema.inputs))
    numeric, categorical = torch.from_numpy(prepared.numeric), torch.from_numpy(prepared.categorical)
    labels = torch.from_numpy(np.array(target.encode(table[name])))
    mean, scale = (float(labels.mean()), float(labels.std())) if regression else (0.0, 1.0)
    torch.manual_seed(0)
    network = _Network(numeric.shape[1], preparation.cardinalities, target.outputs)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(30):
        optimiser.zero_grad()
        wanted = ((labels - mean) / scale).float() if regression else labels
        loss(network(numeric, categorical), wanted, objective).backward()
        optimiser.step()
    answering = Answering(network, objective, temperature=1.3, half_width=2000.0, mean=mean, scale=scale).eval()

    made = export.export(preparation, answering, schema, target, from_table(table, schema.inputs))
    described = manifest.compose(
        "small",
        made.interface,
        target,
        data={"rows": table.height},
        results={"parity": made.parity},
        settings={"seed": 0},
    )
    answers = Runtime(made.model.SerializeToString(), made.interface)(from_table(table, schema.inputs))
    reference = {"inputs": profile(table, schema), "answers": profile_answers(answers, classes)}
    page = "<!doctype html>"
    write(folder, model=made.model, describes=described, golden_rows=made.golden, profile=reference, report=page)
    return Small(folder=folder, table=table, schema=schema, target=target, network=answering, preparation=preparation)


def _Network(width: int, cardinalities: tuple[int, ...], outputs: int) -> Any:  # noqa: N802
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embeddings = nn.ModuleList(nn.Embedding(count, 3) for count in cardinalities)
            self.layers = nn.Sequential(
                nn.Linear(width + 3 * len(cardinalities), 16), nn.ReLU(), nn.Linear(16, outputs)
            )

        def forward(self, numeric: torch.Tensor, categorical: torch.Tensor) -> torch.Tensor:
            parts = [numeric, *(embed(categorical[:, i]) for i, embed in enumerate(self.embeddings))]
            return self.layers(torch.cat(parts, dim=1))[:, None]

    return Network()


@pytest.fixture(scope="session", autouse=True)
def _signals_end_what_tests_start() -> Iterator[None]:
    """A job that a script starts with `&` begins deaf to SIGINT, and so would all that tests start and end by it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if before[number] is signal.SIG_IGN:
            signal.signal(number, usual)
    yield
    for number, handler in before.items():
        if handler is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests run in one process; so do all that start Ray, which two at once keep from starting in time."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes by their length: compressed ones hold the time, and every process must call its tests the same."""
    return f"{argname} of {len(val)} bytes" if isinstance(val, bytes) else None


@pytest.fixture(autouse=True)
def _logging_is_left_as_it_was() -> Iterator[None]:
    """A command run here sets up the root logger; its handler would go on writing to a stream that the test closes."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in [added for added in root.handlers if added not in handlers]:
        root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="session", params=[Objective.BINARY, Objective.MULTICLASS, Objective.REGRESSION])
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Small:
    """One bundle for each objective. Read it; copy it to change it."""
    return make_small(tmp_path_factory.mktemp("bundle") / "small", request.param)


@pytest.fixture(scope="session")
def small_multiclass(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return make_small(tmp_path_factory.mktemp("bundle") / "small", Objective.MULTICLASS)


@pytest.fixture(scope="session")
def small_binary(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return make_small(tmp_path_factory.mktemp("bundle") / "small", Objective.BINARY)
