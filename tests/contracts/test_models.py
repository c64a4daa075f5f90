"""What every model must do. A module of `tidemill.models` with a `build` is a model, and is found here."""

import importlib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from torch import Tensor, nn

from tidemill.composition import build, choices, keys
from tidemill.errors import SettingsError
from tidemill.models import heads
from tidemill.models.inputs import ModelInputs
from tidemill.settings import Objective

CONF = Path(__file__).parents[2] / "conf" / "model"
BATCHES = (1, 2, 7, 4096)
SHAPES = {"numeric": (5, ()), "categorical": (0, (4, 50, 2)), "both": (5, (4, 50, 2))}


MODELS = {name: importlib.import_module(f"tidemill.models.{name}") for name in choices("tidemill.models", "build")}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks this small only lose by more, and a great deal on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=sorted(MODELS))
def model(request: pytest.FixtureRequest) -> types.ModuleType:
    return MODELS[request.param]


def _conf(model: types.ModuleType) -> dict[str, Any]:
    name = model.__name__.rpartition(".")[2]
    values: dict[str, Any] = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    assert values.pop("name") == name
    return values


def _rows(numeric: int, cardinalities: tuple[int, ...], rows: int = 4096) -> tuple[Tensor, Tensor]:
    """Numeric columns of every sort: 0/1, constant, few values, continuous."""
    generator = torch.Generator().manual_seed(0)
    numeric_BN = torch.randn(rows, numeric, generator=generator)
    if numeric:
        numeric_BN[:, 0] = (numeric_BN[:, 0] > 0).float()
        numeric_BN[:, 1] = 3
        numeric_BN[:, 2] = numeric_BN[:, 2].round()
    codes = [torch.randint(0, count, (rows,), generator=generator) for count in cardinalities]
    empty = torch.zeros(rows, 0, dtype=torch.int64)
    return numeric_BN, torch.stack(codes, dim=1) if codes else empty


def _network(model: types.ModuleType, numeric_BN: Tensor, cardinalities: tuple[int, ...], outputs: int) -> nn.Module:
    torch.manual_seed(0)
    inputs = ModelInputs(numeric_BN=numeric_BN, cardinalities=cardinalities, outputs=outputs)
    network = model.build(build(model.Settings, _conf(model), "model"), inputs)
    assert isinstance(network, nn.Module)
    return network


def test_every_model_has_its_yaml_and_every_yaml_its_model() -> None:
    assert set(MODELS) <= {path.stem for path in CONF.glob("*.yaml")}
    assert len(MODELS) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_have_rows_members_and_outputs(model: types.ModuleType, shape: str) -> None:
    numeric, cardinalities = SHAPES[shape]
    numeric_BN, categorical_BC = _rows(numeric, cardinalities)
    network = _network(model, numeric_BN, cardinalities, outputs=3)
    with torch.no_grad():
        for rows in BATCHES:
            logits = network(numeric_BN[:rows], categorical_BC[:rows])
            assert logits.shape[0] == rows
            assert logits.shape[1] >= 1
            assert logits.shape[2] == 3
            assert logits.dtype == torch.float32
            assert logits.isfinite().all()


@pytest.mark.parametrize("rows", [1, 64])
def test_every_parameter_gets_a_finite_gradient(model: types.ModuleType, rows: int) -> None:
    numeric_BN, categorical_BC = _rows(5, (4, 50, 2))
    network = _network(model, numeric_BN, (4, 50, 2), outputs=1)
    logits = network(numeric_BN[:rows], categorical_BC[:rows])
    heads.loss(logits, torch.ones(rows), Objective.REGRESSION).backward()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_a_seed_decides_everything(model: types.ModuleType) -> None:
    numeric_BN, categorical_BC = _rows(5, (4, 50), rows=64)
    first, second = (_network(model, numeric_BN, (4, 50), outputs=1) for _ in range(2))
    for network in (first, second):
        network.train()
    answers = []
    for network in (first, second):
        torch.manual_seed(1)  # dropout
        answers.append(network(numeric_BN, categorical_BC))
    assert torch.equal(*answers)
    assert first.state_dict().keys() == second.state_dict().keys()


def test_a_row_gets_the_same_answer_in_any_batch(model: types.ModuleType) -> None:
    numeric_BN, categorical_BC = _rows(5, (4, 50, 2))
    network = _network(model, numeric_BN, (4, 50, 2), outputs=2).eval()
    with torch.no_grad():
        together = network(numeric_BN, categorical_BC)
        for rows in ([0], [4095], [7, 3], list(range(4095, 4000, -1))):
            alone = network(numeric_BN[rows], categorical_BC[rows])
            torch.testing.assert_close(alone, together[rows], rtol=0, atol=1e-5)


def test_all_that_it_learned_is_in_its_state(model: types.ModuleType) -> None:
    """Bins and other things taken from the training split travel with a checkpoint."""
    numeric_BN, categorical_BC = _rows(5, (4, 50), rows=64)
    trained = _network(model, numeric_BN, (4, 50), outputs=1).eval()
    other = _network(model, numeric_BN.flip(0), (4, 50), outputs=1).eval()
    with torch.no_grad():
        for parameter in trained.parameters():
            if parameter.requires_grad:
                parameter += 0.01
        other.load_state_dict(trained.state_dict())
        assert torch.equal(other(numeric_BN, categorical_BC), trained(numeric_BN, categorical_BC))


@pytest.mark.slow
def test_it_overfits_64_rows(model: types.ModuleType) -> None:
    """Each row has a code of its own, so that even a linear model can tell the rows apart."""
    numeric_BN, _ = _rows(3, (), rows=64)
    categorical_BC = torch.arange(2, 66)[:, None]
    target_B = torch.randint(0, 2, (64,), generator=torch.Generator().manual_seed(2))
    network = _network(model, numeric_BN, (66,), outputs=1)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.005)
    reached = torch.inf
    for step in range(1000):
        optimiser.zero_grad()
        heads.loss(network.train()(numeric_BN, categorical_BC), target_B, Objective.BINARY).backward()
        optimiser.step()
        if step % 20 == 19:
            with torch.no_grad():
                logits = network.eval()(numeric_BN, categorical_BC)
                reached = float(heads.loss(logits, target_B, Objective.BINARY))
            if reached < 0.1:
                break
    assert reached < 0.1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:# The axis name. batch will not be used")  # both inputs share it on purpose
@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec.. is deprecated:FutureWarning")  # torch's own
@pytest.mark.parametrize(
    ("shape", "objective"),
    [("both", Objective.MULTICLASS), ("categorical", Objective.BINARY), ("numeric", Objective.REGRESSION)],
)
def test_the_export_answers_alike_at_any_batch(model: types.ModuleType, shape: str, objective: Objective) -> None:
    numeric, cardinalities = SHAPES[shape]
    numeric_BN, categorical_BC = _rows(numeric, cardinalities)
    network = _network(model, numeric_BN, cardinalities, outputs=3 if objective is Objective.MULTICLASS else 1)
    answering = heads.Answering(network, objective, temperature=1.3, half_width=0.5, mean=2.0, scale=0.7).eval()
    names = ["value", "lower", "upper"] if objective is Objective.REGRESSION else ["probabilities"]
    program = torch.onnx.export(
        answering,
        (numeric_BN[:3], categorical_BC[:3]),
        dynamo=True,
        input_names=["numeric", "categorical"],
        output_names=names,
        dynamic_shapes=({0: "batch"}, {0: "batch"}),
        verbose=False,
    )
    assert program is not None
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    assert [value.shape[0] for value in (*session.get_inputs(), *session.get_outputs())] == ["batch"] * (2 + len(names))
    for rows in BATCHES:
        feed = {"numeric": numeric_BN[:rows].numpy(), "categorical": categorical_BC[:rows].numpy()}
        with torch.no_grad():
            wanted = answering(numeric_BN[:rows], categorical_BC[:rows])
        for given, wanted_tensor in zip(session.run(names, feed), wanted if len(names) > 1 else (wanted,), strict=True):
            assert given.dtype == np.float32
            np.testing.assert_allclose(given, wanted_tensor.numpy(), rtol=0, atol=1e-5)


def test_every_setting_is_refused_by_its_key_when_out_of_range(model: types.ModuleType) -> None:
    for key in keys(model.Settings, "model."):
        values = _conf(model)
        *groups, leaf = key.removeprefix("model.").split(".")
        group = values
        for name in groups:
            group = group[name]
        assert leaf in group, f"{key} has no value in the YAML"
        group[leaf] = -1
        with pytest.raises(SettingsError, match=rf"{key} = -1(\.0)?: "):
            build(model.Settings, values, "model")


def test_an_unknown_setting_is_refused(model: types.ModuleType) -> None:
    with pytest.raises(SettingsError, match=r"model\.embeding = 1: .* did you mean model\.embedding\?"):
        build(model.Settings, {**_conf(model), "embeding": 1}, "model")
