"""Wrong uses end in a message that a person can act on, or can be resumed; the registry stays as it was.

Every use is a process of its own that runs train.py (see warm.py), most of them against one registry
that holds a champion.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from warm import ROOT, Warm
from wrong_uses_parts import check_refusal, content, done, job, place, registry, warm

from tidemill import cli
from tidemill.bundle.registry.registry import Registry

__all__ = ["done", "place", "registry", "warm"]

pytestmark = pytest.mark.slow


REFUSALS = [
    # settings: refused before a table is looked for
    ("typo in a key", ["training.max_epoch=3"], "nowhere", "Remedy: write training.max_epochs."),
    ("typo in a choice", ["training.accelerator=gqu"], "nowhere", "must be one of auto, cpu, gpu; did you mean gpu?"),
    ("unknown model", ["model=tabmm"], "nowhere", "Got: no model=tabmm; there are ft_transformer, linear, mlp,"),
    ("unknown experiment", ["+experiment=flihgts"], "nowhere", "Remedy: write experiment=flights."),
    ("plus forgotten", ["experiment=table"], "nowhere", "Remedy: write +experiment=table."),
    ("wrong type", ["training.batch_size=many"], "nowhere", "training.batch_size = 'many': must be a whole number"),
    ("out of range", ["training.learning_rate=-1"], "nowhere", "training.learning_rate = -1.0: must be greater than 0"),
    ("unreadable override", ["data.target={"], "nowhere", "no viable alternative at input '{'"),
    ("a list for a name", ["data.target=a,b"], "nowhere", "Ambiguous value for argument 'data.target=a,b'"),
    ("variable not set", ["data.connection=${oc.env:TIDEMILL_NO}"], "nowhere", "Remedy: set TIDEMILL_NO, or write"),
    ("name with a slash", ["name=a/b"], "nowhere", "name = 'a/b': must be letters, digits"),
    ("time without a column", ["data.split.method=time"], "nowhere", "data.time = None: must name a column"),
    # what must be there before the work
    ("no such GPU", ["training.accelerator=gpu", "training.devices=99"], "good", "The devices asked for must be"),
    ("resume of nothing", ["training.resume=/nowhere"], "nowhere", "training.resume must name a run's folder"),
    ("registry not writable", ["registry.path=/proc/nothing"], "good", "and written. Got: /proc/nothing"),
    ("tracker without a key", ["tracking.wandb=online"], "nowhere", "tracking.wandb=online needs a W&B API key."),
    # the table
    ("missing file", [], "goood", "data.path must exist."),
    ("empty file", [], "empty", "is empty (0 bytes)."),
    ("header only", [], "header", "A table must have rows. Got: 0 rows."),
    ("binary garbage", [], "binary", "binary.csv is binary data."),
    ("a column twice", [], "twice", "Columns must have different names."),
    # the target
    ("no target", ["data.target=null"], "good", "Remedy: set data.target to one of a, b, colour, at, outcome."),
    ("target misspelt", ["data.target=outcom"], "good", "Remedy: did you mean 'outcome'?"),
    ("constant target", [], "constant", "column 'outcome': every row has 'yes'."),
    ("target all null", [], "no_target", "column 'outcome': all values are missing."),
    ("words for a regression", ["data.objective=regression"], "good", "Regression needs a numeric target."),
    # the other columns
    ("leak", [], "leak", "'copy' alone predicts 'outcome'"),
    ("e-mail addresses", [], "mail", "'contact' seems to hold e-mail addresses"),
    ("slice by no column", ["evaluation.slices=[colr]"], "good", "evaluation.slices must name columns of the table."),
    ("nothing to learn from", ["data.ignored=[a,b,colour,at]"], "good", "A model needs at least one feature."),
    # the splits
    ("one class in train", ["data.split.method=time", "data.time=at"], "one_class_early", "Every class must have rows"),
    ("stratified by a class of one row", ["data.split.method=stratified"], "rare", "Every class must have rows"),
    ("one row", [], "one_row", "A model needs at least one feature."),
    ("two rows", [], "two_rows", "Each split needs rows"),
    # training
    ("NaN", ["training.learning_rate=1e30", "training.gradient_clip=null"], "good", "The loss must stay finite."),
]  # fmt: skip


@pytest.mark.parametrize(("use", "overrides", "data", "said"), REFUSALS, ids=[refusal[0] for refusal in REFUSALS])
def test_a_wrong_use_is_refused(
    warm: Warm, place: Path, registry: Path, use: str, overrides: list[str], data: str, said: str
) -> None:
    before = content(registry)
    folder = place / use
    end = warm.run(
        job(place, use, *overrides, data=data, registry=registry), folder, WANDB_API_KEY="", HOME=str(folder)
    )
    check_refusal(end, said)
    assert content(registry) == before


def test_a_registry_with_refusals_behind_it_is_listed(registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["registry", "list", "--registry", str(registry)]) == 0
    assert re.search(r"^m +1 +candidate, champion +\d{4}-", capsys.readouterr().out, re.MULTILINE)


def test_a_registry_or_run_folder_that_is_a_file_is_refused(warm: Warm, place: Path) -> None:
    file = place / "empty.csv"
    check_refusal(warm.run(job(place, "file", registry=file), place / "file"), "The registry can be reached")
    end = warm.run(job(place, "file", f"hydra.run.dir={file}"), place / "file")
    check_refusal(end, f"Got: {file}: File exists. Remedy: make room or give permission there")


def test_a_resumed_run_must_be_what_it_was(warm: Warm, place: Path, registry: Path, done: Path) -> None:
    for changed, said in (
        ("training.learning_rate=0.01", "0.02 in the checkpoint, 0.01 now"),
        ("model.width=8", "[8, "),
    ):
        words = job(place, "changed", f"training.resume={done}", changed, registry=registry)
        check_refusal(warm.run(words, place / "changed"), said)
    end = warm.run(job(place, "changed", f"training.resume={place}", registry=registry), place / "changed")
    check_refusal(end, "give the folder that holds checkpoints/last.ckpt")


def test_python_itself_ends_with_the_message_too(tmp_path: Path) -> None:
    words = [sys.executable, "train.py", "+experiment=table", "data.pth=x", f"hydra.run.dir={tmp_path}"]
    end = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    check_refusal(end, "Remedy: write data.path.")
    assert end.returncode == 1


def test_a_sweep_whose_every_trial_fails_fails(warm: Warm, place: Path) -> None:
    words = [word for word in job(place, "sweep", "model.width=-1,0") if not word.startswith("hydra.run.dir")]
    end = warm.run(["-m", *words, f"hydra.sweep.dir={place / 'sweep' / 'trials'}"], place / "sweep")
    check_refusal(end, "At least one trial of a sweep must end well. Got: all 2 failed")
    assert (place / "sweep" / "trials" / "ranking.csv").read_text().count("model.width") >= 2


# What looks wrong and can be answered


def test_a_column_without_values_is_left_out(warm: Warm, place: Path, done: Path) -> None:
    end = warm.run(job(place, "empty_column", data="empty_column"), place / "empty_column")
    assert end.returncode == 0, end.stderr
    assert re.search(r"b +categorical +ignored \(empty: no row has a value\)", end.stdout)


def test_very_few_rows_give_a_candidate_never_a_champion(warm: Warm, place: Path) -> None:
    end = warm.run(job(place, "few", "training.devices=2", data="twenty_rows"), place / "few")
    assert end.returncode == 0, end.stderr
    assert "A paired test needs at least 10 test rows, and there are 4." in end.stdout
    assert Registry(place / "few" / "registry").aliases("m") == {"candidate": "1"}
