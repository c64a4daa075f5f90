import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest

from small_bundle import Small
from tidemill.bundle import checksums, golden
from tidemill.bundle.predictor import Predictor
from tidemill.bundle.runtime import Runtime
from tidemill.data.raw import from_rows, from_table
from tidemill.errors import BundleError, SettingsError


@pytest.fixture
def copy(small_multiclass: Small, tmp_path: Path) -> Path:
    return shutil.copytree(small_multiclass.folder, tmp_path / "copy")


def changed(folder: Path, name: str, content: bytes) -> Path:
    """A bundle whose checksums are right although its content is not."""
    (folder / name).write_bytes(content)
    checksums.write(folder)
    return folder


def test_checksums_name_all_files_of_the_folder_and_no_others(copy: Path) -> None:
    listed = copy / checksums.NAME
    was = listed.read_text()
    (copy / "more.bin").write_bytes(b"")
    with pytest.raises(BundleError, match=r"names all of its files. Got: .*: it knows nothing of more\.bin"):
        Predictor(copy)
    (copy / "more.bin").unlink()
    for named, wrong in (({}, "does not name golden.json, manifest.json, model.onnx, profile.json"), (None, "is no")):
        listed.write_text(json.dumps({"sha256": named if named is not None else {"model.onnx": 1}}))
        with pytest.raises(BundleError, match=wrong):
            Predictor(copy)
    without = {name: sum_ for name, sum_ in json.loads(was)["sha256"].items() if name != "profile.json"}
    listed.write_text(json.dumps({"sha256": without}))
    with pytest.raises(BundleError, match=r"does not name profile\.json"):
        Predictor(copy)
    (copy / "profile.json").unlink()
    with pytest.raises(BundleError, match=r"does not name profile\.json"):
        Predictor(copy)


def test_answers_are_plain_onnxruntimes_bit_for_bit(small: Small) -> None:
    predictor = Predictor(small.folder, threads=1)
    raw = from_table(small.table, predictor.columns)
    answers = predictor.predict(raw)
    session = onnxruntime.InferenceSession(small.folder / "model.onnx")
    found = session.run(None, {value.name: raw[value.name] for value in session.get_inputs()})
    for got, expected in zip(answers.values(), found, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_answers_by_name_and_type(small: Small) -> None:
    predictor = Predictor(small.folder)
    answers = predictor.predict(from_rows([{"open": True, "city": "nowhere"}], predictor.columns))
    if small.target.classes:
        assert list(answers) == ["probabilities", "label"]
        assert answers["probabilities"].shape == (1, len(small.target.classes))
        assert answers["probabilities"].dtype == np.float32
        assert answers["label"][0] in small.target.classes
    else:
        assert list(answers) == ["value", "lower", "upper"]
        assert answers["lower"] < answers["value"] < answers["upper"]


def test_no_rows_give_no_answers_and_never_reach_onnxruntime(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, given = Predictor(small.folder), []
    one = predictor.predict(from_rows([{"open": True, "city": "nowhere"}], predictor.columns))
    session = predictor._runtime._session

    def run(outputs: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        given.extend(map(len, inputs.values()))
        return session.run(outputs, inputs)

    monkeypatch.setattr(predictor._runtime, "_session", SimpleNamespace(run=run))
    none = predictor.predict(from_rows([], predictor.columns))
    assert {len(values) for values in none.values()} == {0} and set(given) == {1}
    assert {n: (v.dtype, v.shape[1:]) for n, v in none.items()} == {n: (v.dtype, v.shape[1:]) for n, v in one.items()}


def test_a_flipped_bit_is_found(copy: Path) -> None:
    content = bytearray((copy / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "model.onnx").write_bytes(bytes(content))
    with pytest.raises(BundleError, match=r"model\.onnx in .* was altered"):
        Predictor(copy)


def test_a_profile_that_is_no_json_is_refused(copy: Path) -> None:
    with pytest.raises(BundleError, match=r"profile\.json is JSON"):
        Predictor(changed(copy, "profile.json", b"{"))


def test_what_is_no_graph_is_refused(copy: Path) -> None:
    with pytest.raises(BundleError, match="can be opened by ONNX Runtime"):
        Predictor(changed(copy, "model.onnx", b"not a graph"))


def test_a_graph_of_custom_operators_is_refused(copy: Path) -> None:
    model = onnx.load(copy / "model.onnx")
    model.graph.node[0].domain = "com.example"
    with pytest.raises(BundleError, match="standard ONNX operators only"):
        Predictor(changed(copy, "model.onnx", model.SerializeToString()))


def test_a_graph_of_other_columns_is_refused(copy: Path) -> None:
    model = onnx.load(copy / "model.onnx")
    model.graph.input.add().CopyFrom(onnx.helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, ["batch"]))
    with pytest.raises(BundleError, match=r"describes the inputs and outputs of its graph.*more"):
        Predictor(changed(copy, "model.onnx", model.SerializeToString()))


def test_a_graph_that_answers_otherwise_is_refused(copy: Path) -> None:
    model = onnx.load(copy / "model.onnx")
    tensors = [attribute.t for node in model.graph.node for attribute in node.attribute if attribute.HasField("t")]
    bias = next(tensor for tensor in tensors if tensor.dims == [3] and tensor.data_type == 1)
    bias.CopyFrom(onnx.numpy_helper.from_array(np.array([9, 0, 0], np.float32), bias.name))
    with pytest.raises(BundleError, match="gives the answers recorded with its golden rows"):
        Predictor(changed(copy, "model.onnx", model.SerializeToString()))


@pytest.mark.parametrize("provider", ["cuda", "tpu"])
def test_a_provider_that_is_not_there_is_not_replaced(small_multiclass: Small, provider: str) -> None:
    if provider == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("there is one")
    with pytest.raises(SettingsError, match=f"must be the one in use.*'{provider}'.*CPUExecutionProvider"):
        Predictor(small_multiclass.folder, provider=provider)


def test_a_silent_fall_back_is_refused(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(copy)
    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda self: ["OtherExecutionProvider"])
    with pytest.raises(SettingsError, match="fell back to OtherExecutionProvider"):
        Runtime((copy / "model.onnx").read_bytes(), predictor.manifest.interface)


def test_golden_rows_hold_real_and_hostile_records(small: Small) -> None:
    predictor = Predictor(small.folder)
    rows = golden.read(small.folder / "golden.json", predictor.columns)
    assert rows.real == 32 and len(rows.raw["size"]) > 60
    for values in rows.answers.values():
        assert values.dtype == object or np.isfinite(values).all()
