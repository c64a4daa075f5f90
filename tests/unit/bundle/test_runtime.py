import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest
import torch
import yaml
from onnx import TensorProto, helper
from torch import nn

from small_bundle import Small
from tidemill.bundle import golden, manifest, parts, sessions
from tidemill.bundle.export import joining
from tidemill.bundle.golden import Golden
from tidemill.bundle.runtime import Runtime
from tidemill.bundle.sessions import Placed
from tidemill.composition import build
from tidemill.data.raw import from_table
from tidemill.data.schema import Column, Role, Schema
from tidemill.data.target import Target
from tidemill.errors import BundleError, SettingsError
from tidemill.models.heads import Answering
from tidemill.preparation.fit import fit
from tidemill.settings import Kind, Objective, PreparationSettings

GPUS = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
KINDS = {"city": Kind.CATEGORICAL, "grade": Kind.CATEGORICAL, "open": Kind.BOOLEAN, "at": Kind.TIMESTAMP}


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of a GPU, with the CPU in its place."""
    monkeypatch.setitem(sessions.PROVIDERS, "cuda", sessions.PROVIDERS["cpu"])


def runtime(small: Small, provider: str = "cpu") -> Runtime:
    content = (small.folder / "model.onnx").read_bytes()
    return Runtime(content, manifest.read(small.folder).interface, threads=1, provider=provider)


def test_a_file_is_opened_where_it_lies(small: Small, tmp_path: Path) -> None:
    interface, rows = manifest.read(small.folder).interface, golden_rows(small)
    golden.replay(Runtime(small.folder / "model.onnx", interface, threads=1), rows)
    for content in (b"", b"not a graph"):
        (tmp_path / "model.onnx").write_bytes(content)
        with pytest.raises(BundleError, match=r"can be opened by ONNX Runtime"):
            Runtime(tmp_path / "model.onnx", interface)
    graph = onnx.load(small.folder / "model.onnx")
    graph.graph.node[0].domain = "com.example"
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    with pytest.raises(BundleError, match=r"standard ONNX operators only"):
        Runtime(tmp_path / "model.onnx", interface)


def golden_rows(small: Small) -> Golden:
    return golden.read(small.folder / golden.NAME, manifest.read(small.folder).schema.inputs)


class Flat(nn.Module):
    """Reads whatever there is of numbers and of codes."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, outputs)

    def forward(self, numeric: Any, categorical: Any) -> Any:
        return self.layer(torch.cat([numeric, categorical.float()], dim=1))[:, None]


def exported(table: pl.DataFrame, names: tuple[str, ...], objective: Objective) -> tuple[Any, ...]:
    inputs = [Column(name=name, kind=KINDS.get(name, Kind.NUMERIC), missing_allowed=True) for name in names]
    schema = Schema(columns=(*inputs, Column(name="price", kind=Kind.NUMERIC, role=Role.TARGET)))
    classes = {Objective.BINARY: ("no", "yes"), Objective.MULTICLASS: ("a", "b", "ç")}.get(objective, ())
    target = Target(name="price", objective=objective, classes=classes)
    settings = yaml.safe_load((Path(__file__).parents[3] / "conf/preparation/default.yaml").read_text())
    preparation = fit(table, schema, build(PreparationSettings, settings))
    raw = from_table(table, schema.inputs)
    prepared = preparation.run(raw)
    torch.manual_seed(0)
    network = Flat(prepared.numeric.shape[1] + prepared.categorical.shape[1], target.outputs)
    answering = Answering(network, objective, temperature=1.0, half_width=1.0, mean=0.0, scale=1.0).eval()
    return joining.join(preparation.model, answering, target), raw


def same(found: Any, expected: Any) -> None:
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
        assert got.dtype == wanted.dtype


def test_in_parts_a_bundle_answers_as_a_whole_bit_for_bit(small: Small, no_gpu: None) -> None:
    whole, placed, rows = runtime(small), runtime(small, "cuda"), golden_rows(small)
    assert isinstance(placed._session, Placed) and not isinstance(whole._session, Placed)
    golden.replay(placed, rows)
    same(placed(rows.raw).values(), whole(rows.raw).values())
    assert list(placed(rows.raw)) == list(whole(rows.raw))


def test_in_parts_no_rows_give_no_answers(small_multiclass: Small, no_gpu: None) -> None:
    whole, placed, rows = runtime(small_multiclass), runtime(small_multiclass, "cuda"), golden_rows(small_multiclass)
    none = {name: values[:0] for name, values in rows.raw.items()}
    same(placed(none).values(), whole(none).values())
    assert {len(values) for values in whole(none).values()} == {0}


def test_a_device_is_tried_with_one_row_and_with_more_than_a_batch(
    small_multiclass: Small, no_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, run = [], Placed.run
    monkeypatch.setattr(Placed, "run", lambda self, outputs, rows: (given.append(rows), run(self, outputs, rows))[1])
    runtime(small_multiclass, "cuda")
    assert [{len(values) for values in rows.values()} for rows in given] == [{1}, {4096}]
    assert given[0]["city"][0] == "" and np.isnan(given[0]["size"][0])


@pytest.mark.parametrize("objective", [Objective.BINARY, Objective.MULTICLASS, Objective.REGRESSION])
@pytest.mark.parametrize("names", [("size", "open", "at"), ("city", "grade")], ids=["no text", "only text"])
def test_what_the_device_gets_of_an_export(
    small_multiclass: Small, no_gpu: None, names: tuple[str, ...], objective: Objective
) -> None:
    model, raw = exported(small_multiclass.table, names, objective)
    cut = parts.cut(model)
    assert (cut.before is not None) == ("city" in names)
    assert (cut.after is not None) == (objective is not Objective.REGRESSION)
    left = [node.op_type for part in (cut.before, cut.after) if part for node in part.graph.node]
    assert set(left) <= {"LabelEncoder", "Gather", "Identity", "Constant"}, "all that computes is on the device"
    whole, outputs = sessions.open_session(model), [value.name for value in model.graph.output]
    for rows in (1, 3, 400):
        given = {value.name: raw[value.name][:rows] for value in model.graph.input}
        same(Placed(model, "cuda").run(outputs, given), whole.run(outputs, given))


def test_strided_columns_reach_a_device_in_order(small_multiclass: Small, no_gpu: None) -> None:
    rows = {name: np.repeat(values, 2)[::2] for name, values in golden_rows(small_multiclass).raw.items()}
    assert not rows["size"].flags.c_contiguous
    same(runtime(small_multiclass, "cuda")(rows).values(), runtime(small_multiclass)(rows).values())


@pytest.mark.parametrize("provider", ["cpu", "cuda"])
def test_threads_share_a_runtime(small_multiclass: Small, no_gpu: None, provider: str) -> None:
    run, rows = runtime(small_multiclass, provider), golden_rows(small_multiclass).raw
    expected, wrong = run(rows), []
    count = len(rows["size"])

    def ask(row: int) -> None:
        for _ in range(20):
            found = run({name: values[row : row + 1] for name, values in rows.items()})
            if not golden.same(found["probabilities"], expected["probabilities"][row : row + 1]).all():
                wrong.append(row)

    threads = [threading.Thread(target=ask, args=(row,)) for row in range(0, count, count // 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_more_columns_than_the_graph_reads_are_passed_over(small_multiclass: Small) -> None:
    run, rows = runtime(small_multiclass), golden_rows(small_multiclass).raw
    same(run({**rows, "more": np.zeros(3)}).values(), run(rows).values())
    with pytest.raises(KeyError, match="city"):
        run({name: values for name, values in rows.items() if name != "city"})


@pytest.mark.parametrize("provider", [*GPUS, "tpu"])
def test_a_provider_that_is_not_there_is_not_replaced(small_multiclass: Small, provider: str) -> None:
    if GPUS.get(provider) in onnxruntime.get_available_providers():
        pytest.skip("there is one")
    rule = r"must be the one in use \(cpu or cuda or tensorrt\)"
    with pytest.raises(SettingsError, match=rf"{rule}.*'{provider}': this installation offers .*CPUExecutionProvider"):
        runtime(small_multiclass, provider)


def test_a_silent_fall_back_of_the_device_is_refused(
    small_multiclass: Small, no_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda self: ["OtherExecutionProvider"])
    with pytest.raises(SettingsError, match="'cuda': ONNX Runtime fell back to OtherExecutionProvider"):
        runtime(small_multiclass, "cuda")


def test_onnx_runtime_is_not_let_to_fall_back_by_itself(
    small_multiclass: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would open the session again, on another provider, when opening or a run fails."""
    opened = []

    def fail(session: Any, *arguments: Any, **more: Any) -> None:
        opened.append(arguments)
        raise RuntimeError("no memory")

    monkeypatch.setattr(onnxruntime.InferenceSession, "_create_inference_session", fail)
    with pytest.raises(BundleError, match="RuntimeError: no memory"):
        runtime(small_multiclass)
    assert len(opened) == 1


def test_a_graph_without_numbers_has_nothing_for_a_device(no_gpu: None) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.STRING, ["n"]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
    with pytest.raises(SettingsError, match="'cuda': the graph holds no part that works on numbers alone"):
        Placed(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), "cuda")


def test_sessions_leave_the_cores_to_others(small_multiclass: Small) -> None:
    options = sessions.open_session(onnx.load(small_multiclass.folder / "model.onnx"), threads=3).get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    assert options.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize("provider", GPUS)
def test_a_gpu_answers_as_the_golden_rows_say(small: Small, provider: str) -> None:
    if GPUS[provider] not in onnxruntime.get_available_providers():
        pytest.skip(f"no {GPUS[provider]}")
    on_gpu, rows = runtime(small, provider), golden_rows(small)
    assert on_gpu._session._middle._session.get_providers()[0] == GPUS[provider]
    golden.replay(on_gpu, rows)
    for name, values in runtime(small)(rows.raw).items():
        assert golden.same(on_gpu(rows.raw)[name], values).all()
