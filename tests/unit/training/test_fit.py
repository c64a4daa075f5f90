import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training_parts import Network, network, settings, split

from tidemill.errors import TrainingError
from tidemill.models import heads
from tidemill.settings import Accelerator, ClassWeights, Objective, Precision, Profiler
from tidemill.settings.training import TrainingSettings
from tidemill.training.fit import Fit, decided, fit, usual_batch_size
from tidemill.training.module import decayed
from tidemill.training.record import best_epoch, no_better
from tidemill.training.tensors import Tensors

Capture = pytest.CaptureFixture[str]


def run(
    folder: Path,
    chosen: TrainingSettings | None = None,
    *,
    model: Any = None,
    objective: Objective = Objective.BINARY,
    train: Tensors | None = None,
    validation: Tensors | None = None,
    seed: int = 0,
    log: Callable[..., Any] | None = None,
) -> Fit:
    return fit(
        chosen or settings(),
        seed=seed,
        network=model or network(),
        objective=objective,
        train=train or split(200),
        validation=validation or split(90, seed=1),
        folder=folder,
        log=log,
    )


def test_learns_and_returns_the_best_weights_on_the_cpu_in_evaluation_mode(tmp_path: Path) -> None:
    validation = split(91, seed=1, weight=True)
    result = run(tmp_path, settings(max_epochs=12), model=network(dropout=0.1), validation=validation)
    assert not result.network.training
    with torch.no_grad():
        logits_BEK = result.network(validation.numeric, validation.categorical)
        loss = heads.loss(logits_BEK, validation.target, Objective.BINARY, weight_B=validation.weight)
    assert float(loss) == pytest.approx(result.best_loss, rel=1e-6)
    assert result.best_loss == min(entry["validation_loss"] for entry in result.history)
    assert result.best_loss < result.history[0]["validation_loss"]
    assert (result.epochs, result.device) == (12, "cpu, 32-true")
    assert result.seconds > 0


def test_writes_the_history_and_the_checkpoint_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(tmp_path / "run", settings(progress=True))
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"run/history.jsonl", "run/checkpoints/last.ckpt"}
    lines = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == result.history
    assert [entry["step"] for entry in result.history] == [7, 14, 21]


def test_says_what_happens_where_no_bar_can_be(tmp_path: Path, capfd: Capture) -> None:
    run(tmp_path, settings(progress=True))
    out, err = capfd.readouterr()
    assert out == "" and len(lines := err.splitlines()) == 3
    assert lines[0].startswith("epoch 1/3: loss 0.")
    assert "(best)" in lines[0]


def test_shows_a_bar_on_a_terminal(tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    run(tmp_path, settings(progress=True, batch_size=2))
    err = capfd.readouterr().err
    assert "epoch 2/3" in err
    assert "━" in err
    assert err.count("validation") == 3


def test_says_on_the_way_how_far_a_long_epoch_is(
    tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.training.progress.SECONDS_PER_LINE", 0.0)
    run(tmp_path, settings(progress=True, batch_size=2, max_epochs=1))
    assert "epoch 1/1: step 25 of 100" in capfd.readouterr().err


def test_binary_targets_may_be_whole_numbers(tmp_path: Path) -> None:
    rows = split(200)
    whole = Tensors(numeric=rows.numeric, categorical=rows.categorical, target=rows.target.long(), weight=None)
    first, second = run(tmp_path / "a", train=rows), run(tmp_path / "b", train=whole)
    assert first.best_loss == second.best_loss


def test_quiet_without_progress(tmp_path: Path, capfd: Capture) -> None:
    run(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_logs_every_epoch_and_now_and_then_a_batch(tmp_path: Path) -> None:
    logged = []
    run(tmp_path, settings(batch_size=2, max_epochs=2), log=lambda figures, step: logged.append((figures, step)))
    batches = [(figures, step) for figures, step in logged if "batch_loss" in figures]
    assert [step for _, step in batches] == [50, 100, 150, 200]
    assert all(set(figures) == {"batch_loss", "learning_rate"} for figures, _ in batches)
    epochs = [(figures, step) for figures, step in logged if "validation_loss" in figures]
    assert [(figures["epoch"], step) for figures, step in epochs] == [(1, 100), (2, 200)]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    results = [
        run(tmp_path / str(number), model=network(dropout=0.2), seed=seed) for number, seed in enumerate([5, 5, 6])
    ]
    first, again, other = (result.network.state_dict() for result in results)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_stops_when_validation_gets_no_better(tmp_path: Path) -> None:
    result = run(tmp_path, settings(max_epochs=60, patience=2, learning_rate=0.2), train=split(40))
    assert result.epochs == result.best_epoch + 2 < 60


def test_best_is_the_first_of_equals() -> None:
    history = [{"validation_loss": loss} for loss in (0.5, 0.4, 0.4, 0.6)]
    assert best_epoch(history) == 2
    assert no_better(history, 2)
    assert not no_better(history, 3)


@pytest.mark.parametrize("rule", list(ClassWeights))
def test_multiclass_with_class_weights(tmp_path: Path, rule: ClassWeights) -> None:
    result = run(
        tmp_path,
        settings(class_weights=rule),
        model=network(outputs=3),
        objective=Objective.MULTICLASS,
        train=split(200, classes=3, weight=True),
        validation=split(50, classes=3, seed=1),
    )
    assert result.best_loss > 0


def test_regression(tmp_path: Path) -> None:
    assert run(tmp_path, objective=Objective.REGRESSION).best_loss > 0


@pytest.mark.parametrize("rows", [1, 2, 33])
def test_splits_smaller_than_a_batch_and_last_batches_of_one(tmp_path: Path, rows: int) -> None:
    result = run(tmp_path, train=split(rows), validation=split(1, seed=1))
    assert result.epochs == 3


def test_rows_without_weight_change_nothing(tmp_path: Path) -> None:
    rows = split(64, weight=True)
    rows.weight.zero_()
    before = {name: tensor.clone() for name, tensor in network().state_dict().items()}
    after = run(tmp_path, settings(weight_decay=0.0), train=rows).network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_threads_are_torchs_own_again_afterwards(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    run(tmp_path, settings(threads=before + 1, max_epochs=1))
    assert torch.get_num_threads() == before


def test_a_step_clips_the_gradient(tmp_path: Path) -> None:
    """With plain gradient norms near 1, clipping at 1e-8 leaves Adam's epsilon to stop all movement but decay."""
    chosen = settings(gradient_clip=1e-12, weight_decay=0.0, max_epochs=1, warmup_epochs=0.0)
    before = network().state_dict()
    after = run(tmp_path, chosen).network.state_dict()
    assert max(float((before[name] - after[name]).abs().max()) for name in before) < 1e-4


def test_weight_decay_leaves_biases_and_normalisations_alone() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.LayerNorm(3), nn.Embedding(4, 2))
    held, free = decayed(model)
    assert [list(parameter.shape) for parameter in held] == [[3, 2], [4, 2]]
    assert len(free) == 5


def test_bf16_runs_on_the_cpu(tmp_path: Path) -> None:
    result = run(tmp_path, settings(precision=Precision.BF16))
    assert result.device == "cpu, bf16-mixed"
    assert all(tensor.dtype == torch.float32 for tensor in result.network.state_dict().values())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path, bad: float) -> None:
    rows = split(200)
    rows.numeric[17, 0] = bad
    with pytest.raises(TrainingError, match=r"The loss must stay finite. Got: a training loss of \S+ in epoch 1, by"):
        run(tmp_path, train=rows)
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_validation_loss_that_is_not_finite_stops_the_run_too(tmp_path: Path) -> None:
    rows = split(90, seed=1)
    rows.numeric[3, 1] = float("nan")
    with pytest.raises(TrainingError, match="a validation loss of nan in epoch 1"):
        run(tmp_path, validation=rows)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"training.accelerator=gpu, training.devices=1, and 0 GPU\(s\)"):
        run(tmp_path, settings(accelerator=Accelerator.GPU))
    assert decided(settings(accelerator=Accelerator.AUTO), rows=100).accelerator is Accelerator.CPU


def test_half_precision_needs_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="16-bit floating point needs a GPU"):
        run(tmp_path, settings(precision=Precision.FP16))


def test_batch_normalisation_trains_and_says_what_it_needs(tmp_path: Path) -> None:
    model = network(batch_norm=True)
    assert run(tmp_path, model=model, train=split(97)).epochs == 3
    with pytest.raises(TrainingError, match=r"at least two rows in each batch. Got: a batch of 1"):
        run(tmp_path, settings(batch_size=1), model=model)
    with pytest.raises(TrainingError, match="trains in one process"):
        run(tmp_path, settings(devices=2), model=model)


class Greedy(Network):
    def forward(self, numeric_BN: torch.Tensor, categorical_BC: torch.Tensor) -> None:
        torch.empty(2**50)
        return super().forward(numeric_BN, categorical_BC)


class Strange(Network):
    def forward(self, numeric_BN: torch.Tensor, categorical_BC: torch.Tensor) -> None:
        raise RuntimeError("a fault of the network")


def test_memory_that_runs_out_is_said_in_the_users_terms(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"must fit in memory.*lower training.batch_size"):
        run(tmp_path, model=Greedy())


def test_other_faults_come_through_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a fault of the network"):
        run(tmp_path, model=Strange())


@pytest.mark.slow
def test_compiled_agrees_with_eager(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's compiler has deprecations of its own
        compiled = run(tmp_path / "a", settings(compile=True))
    eager = run(tmp_path / "b")
    for name, tensor in eager.network.state_dict().items():
        torch.testing.assert_close(compiled.network.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_compiler_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._inductor.config

    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(torch._inductor.config, "force_disable_caches", True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(TrainingError, match=r"and a C\+\+ compiler.*set training.compile=false"):
            run(tmp_path, settings(compile=True), model=network(width=9))


@pytest.mark.parametrize(("rows", "size"), [(5, 64), (13_209, 64), (26_048, 128), (137_915, 512), (10_000_000, 1024)])
def test_an_epoch_has_two_hundred_steps_where_the_batch_size_is_left_open(rows: int, size: int) -> None:
    assert usual_batch_size(rows) == size


def test_overfitting_sees_the_first_batches_only_and_validates_on_them(tmp_path: Path) -> None:
    train = split(200)
    overfit = run(tmp_path / "a", settings(overfit_batches=2, max_epochs=2), train=train, validation=split(90, seed=1))
    same = run(tmp_path / "b", settings(max_epochs=2), train=train[:64], validation=train[:64])
    assert [entry["step"] for entry in overfit.history] == [2, 4]
    keys = ("train_loss", "validation_loss")
    assert [[e[k] for k in keys] for e in overfit.history] == [[e[k] for k in keys] for e in same.history]


@pytest.mark.parametrize("profiler", [Profiler.SIMPLE, Profiler.ADVANCED])
def test_a_profile_is_written_into_the_run_and_changes_nothing_else(tmp_path: Path, profiler: Profiler) -> None:
    profiled = run(tmp_path / "a", settings(profiler=profiler))
    (file,) = (tmp_path / "a" / "profile").iterdir()
    assert "optimizer_step" in file.read_text()
    plain = run(tmp_path / "b")
    assert profiled.best_loss == plain.best_loss
    assert not (tmp_path / "b" / "profile").exists()
