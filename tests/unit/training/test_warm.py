"""A warm start: what meant the same before answers the same now, however codes, bins and columns have moved."""

import logging
import random
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import yaml
from training_parts import settings

from tidemill.composition import build, choices, component
from tidemill.data.raw import from_table
from tidemill.data.schema import Column, Role, Schema
from tidemill.data.target import Target
from tidemill.errors import TrainingError
from tidemill.models.inputs import ModelInputs
from tidemill.models.meaning import meaning
from tidemill.preparation.fit import fit as fit_preparation
from tidemill.settings import Kind, Objective, PreparationSettings
from tidemill.training import resume, warm
from tidemill.training.fit import preflight

CONF = Path(__file__).parents[3] / "conf"
SMALL = {"width": 24, "depth": 1, "heads": 4, "members": 3}
TARGET = Target(name="y", objective=Objective.MULTICLASS, classes=("a", "b", "c"))


def table(rows: int, favourite: str, towns: int) -> pl.DataFrame:
    """`color` is one-hot, `town` gets learned vectors; the favourite colour is the most frequent."""
    draw = random.Random(favourite)
    colors = ["red", "green", "blue", favourite, favourite, favourite]
    return pl.DataFrame(
        {
            "size": [draw.gauss(0, 1) for _ in range(rows)],
            "count": [float(draw.randrange(5)) for _ in range(rows)],
            "flag": [float(draw.random() < 0.5) for _ in range(rows)],
            "color": [draw.choice(colors) for _ in range(rows)],
            "town": [f"t{draw.randrange(towns)}" for _ in range(rows)],
        }
    )


BEFORE = table(2000, "red", 40)


class Made:
    """A network for a table, with what its weights belong to."""

    def __init__(
        self, rows: pl.DataFrame, seed: int, *, name: str = "mlp", target: Target = TARGET, **model: Any
    ) -> None:
        kinds = {"color": Kind.CATEGORICAL, "town": Kind.CATEGORICAL}
        columns = [Column(name=column, kind=kinds.get(column, Kind.NUMERIC)) for column in rows.columns]
        self.schema = Schema(columns=(*columns, Column(name="y", kind=Kind.CATEGORICAL, role=Role.TARGET)))
        prepared = yaml.safe_load((CONF / "preparation" / "default.yaml").read_text())
        prepared["numeric"] |= {"scaling": "none", "missing_indicator": False}  # so that numbers stay comparable
        self.preparation = fit_preparation(rows, self.schema, build(PreparationSettings, prepared))
        values = yaml.safe_load((CONF / "model" / f"{name}.yaml").read_text())
        values = {key: SMALL.get(key, value) for key, value in values.items() if key != "name"} | model
        module = component("tidemill.models", name, having="build", key="model.name")
        self.build = partial(module.build, build(module.Settings, values))
        numeric, _ = self.arrays(rows)
        torch.manual_seed(seed)
        inputs = ModelInputs(numeric_BN=numeric, cardinalities=self.preparation.cardinalities, outputs=target.outputs)
        self.network = self.build(inputs).eval()
        for parameter in self.network.parameters():  # embeddings start at zero, where all of them look alike
            if parameter.requires_grad:
                parameter.data += torch.randn_like(parameter) * 0.1
        self.meaning = meaning(self.network, self.build, warm.names(self.preparation, target))

    def arrays(self, rows: pl.DataFrame) -> tuple[torch.Tensor, torch.Tensor]:
        prepared = self.preparation.run(from_table(rows, self.schema.inputs))
        return torch.from_numpy(prepared.numeric), torch.from_numpy(prepared.categorical)

    def __call__(self, rows: pl.DataFrame) -> torch.Tensor:
        with torch.inference_mode():
            return self.network(*self.arrays(rows))

    def keep(self, folder: Path, **changes: Any) -> Path:
        checkpoint = resume.Checkpoint(
            identity={},
            history=[],
            network={},
            optimizer={},
            precision={},
            best=self.network.state_dict(),
            device="cpu",
            meaning=self.meaning,
        )
        replace(checkpoint, **changes).write(folder)
        return folder


def moved(rows: pl.DataFrame) -> pl.DataFrame:
    """The columns in another order, and a new one among them."""
    return rows.select("town", "flag", (pl.col("size") * 3).sin().alias("new"), "color", "count", "size")


@pytest.mark.parametrize("name", choices("tidemill.models", "build"))
def test_the_same_rows_get_the_same_answers(tmp_path: Path, name: str) -> None:
    before = Made(BEFORE, 1, name=name)
    after = Made(moved(table(3000, "blue", 40)).drop("new"), 2, name=name)
    assert before.preparation.vocabularies != after.preparation.vocabularies[::-1]
    rows = BEFORE.head(100)
    assert not torch.allclose(after(rows), before(rows), atol=1e-2)
    warm.start(after.network, after.meaning, before.keep(tmp_path))
    torch.testing.assert_close(after(rows), before(rows))


def test_a_run_of_an_earlier_version_with_a_table_for_each_feature_is_taken_over(tmp_path: Path) -> None:
    before, after = Made(BEFORE, 1), Made(BEFORE, 2)
    state, belongs = before.network.state_dict(), dict(before.meaning)
    key = next(key for key, (name, _) in belongs.items() if name == "categorical")
    _, (rows, _) = belongs.pop(key)
    assert rows is not None and {row.split("\0")[0] for row in rows} == {"town"}
    state["own"] = state.pop(key)
    belongs["own"] = ("categorical.town", [[row.split("\0")[1] for row in rows], None])
    warm.start(after.network, after.meaning, before.keep(tmp_path, best=state, meaning=belongs))
    torch.testing.assert_close(after(BEFORE), before(BEFORE))


def test_what_is_new_changes_nothing_where_it_is_absent(tmp_path: Path) -> None:
    """A colour, towns, a feature and a class more."""
    before = Made(BEFORE, 1)
    rows = moved(pl.concat([table(3000, "blue", 60), table(500, "violet", 60)]))
    after = Made(rows, 2, target=replace(TARGET, classes=("a", "aa", "b", "c")))
    warm.start(after.network, after.meaning, before.keep(tmp_path))
    first = after.network.layers[0].weight
    column = after.meaning["layers.0.weight"][1][1].index("color\0=violet")
    same = moved(BEFORE.head(50)).with_columns(pl.lit(0.0).alias("new"))
    with torch.no_grad():  # the new feature's columns, which were drawn at random
        first[:, [index for index, of in enumerate(after.meaning["layers.0.weight"][1][1]) if of.startswith("new")]] = 0
    torch.testing.assert_close(after(same)[:, :, [0, 2, 3]], before(BEFORE.head(50)))
    assert first[:, column].abs().sum() > 0


def test_the_log_says_how_much_was_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before, after = Made(BEFORE, 1), Made(BEFORE, 2)
    with caplog.at_level(logging.INFO):
        warm.start(after.network, after.meaning, before.keep(tmp_path))
        wider = Made(BEFORE, 2, width=32)
        warm.start(wider.network, wider.meaning, tmp_path)
    whole, part = (record.getMessage() for record in caplog.records)
    total = sum(parameter.numel() for parameter in after.network.parameters() if parameter.requires_grad)
    assert f"{total:,} of {total:,} parameters taken" in whole
    assert "parameters taken" in part and f"{total:,} of" not in part


def test_weights_without_names_are_taken_by_shape() -> None:
    from training_parts import network

    found = meaning(network(), lambda inputs: network(), warm.names(Made(BEFORE, 1).preparation, TARGET))
    assert found["layers.0.weight"] == ("layers.0.weight", [None, None])


def test_a_run_that_cannot_be_begun_from_is_refused(tmp_path: Path) -> None:
    made = Made(BEFORE, 1)
    with pytest.raises(TrainingError, match=r"training.warm_start must name a run's folder"):
        preflight(settings(warm_start=str(tmp_path)))
    made.keep(tmp_path, meaning={})
    preflight(settings(warm_start=str(tmp_path)))
    with pytest.raises(TrainingError, match=r"must name a run that says what its weights belong to"):
        warm.start(made.network, made.meaning, tmp_path)
