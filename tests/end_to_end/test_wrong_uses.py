"""Wrong uses end in a message that a person can act on, or can be resumed; the registry stays as it was.

Every use is a process of its own that runs train.py (see warm.py), most of them against one registry
that holds a champion.
"""

import hashlib
import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from warm import ROOT, Warm

from tidemill import cli
from tidemill.bundle.registry.registry import Registry

pytestmark = pytest.mark.slow

ROWS = 600
EPOCHS = "training.max_epochs=4"
QUICK = [
    *("+experiment=table", "name=m", "data.target=outcome", "model=mlp", "model.width=16", "model.depth=1", EPOCHS),
    *("training.learning_rate=0.02", "training.batch_size=32", "training.threads=1", "training.accelerator=cpu"),
    *("evaluation.baselines=[]", "evaluation.bootstrap=50", "evaluation.importance_rows=50", "tracking.wandb=disabled"),
]
CONNECTION = "postgresql://me:hunter2@db.example.org/x"


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm() as warm:
        yield warm


def table() -> pl.DataFrame:
    random = np.random.default_rng(0)
    a, colour = random.normal(size=ROWS), random.choice(["red", "green", "blue"], ROWS)
    return pl.DataFrame(
        {
            "a": a,
            "b": random.normal(size=ROWS),
            "colour": colour,
            "at": [datetime(2020, 1, 1) + timedelta(hours=row) for row in range(ROWS)],
            "outcome": np.where(a + (colour == "red") + random.normal(size=ROWS) / 2 > 0.3, "yes", "no"),
        }
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every table that is used here."""
    place = tmp_path_factory.mktemp("wrong")
    good = table()
    halves = ["no"] * 500 + ["yes", "no"] * 50
    tables = {
        "good": good,
        "constant": good.with_columns(outcome=pl.lit("yes")),
        "no_target": good.with_columns(outcome=pl.lit(None, dtype=pl.String)),
        "empty_column": good.with_columns(b=pl.lit(None, dtype=pl.Float64)),
        "one_class_early": good.with_columns(outcome=pl.Series(halves)),
        "leak": good.with_columns(copy=(pl.col("outcome") == "yes").cast(pl.Int8)),
        "mail": good.with_columns(contact=pl.Series([f"person{row % 40}@example.org" for row in range(ROWS)])),
        "rare": good.with_columns(outcome=pl.Series(["rare", "no", *["yes", "no"] * 299])),
        "one_row": good[:1],
        "two_rows": good.unique("outcome", keep="first", maintain_order=True),
        "five_rows": good[:5],
        "twenty_rows": good[:20],
    }
    for name, frame in tables.items():
        frame.write_csv(place / f"{name}.csv")
    (place / "empty.csv").touch()
    (place / "header.csv").write_text("a,b,outcome\n")
    (place / "binary.csv").write_bytes(np.random.default_rng(1).bytes(5000))
    (place / "twice.csv").write_text("a,a,outcome\n" + "1,2,yes\n3,4,no\n" * 200)
    return place


def job(place: Path, name: str, *overrides: str, data: str = "good", registry: Path | None = None) -> list[str]:
    """The command line of a run in `place`/`name`; later overrides of a key take the place of earlier ones."""
    words = [*QUICK, f"data.path={place / data}.csv", f"registry.path={registry or place / name / 'registry'}"]
    words += [f"hydra.run.dir={place / name / 'run'}", *overrides]
    return list({word.split("=")[0].lstrip("+"): word for word in words}.values())


@pytest.fixture(scope="module")
def done(warm: Warm, place: Path) -> Path:
    """The folder of an uninterrupted run, the only one in `registry`."""
    end = warm.run(job(place, "done", registry=place / "registry"), place / "done")
    assert end.returncode == 0, end.stderr
    return place / "done" / "run"


@pytest.fixture(scope="module")
def registry(done: Path, place: Path) -> Path:
    return place / "registry"


def content(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def check_refusal(end: "subprocess.CompletedProcess[str]", said: str) -> None:
    assert end.returncode not in (0, 130), end.stdout
    assert "Traceback" not in end.stdout + end.stderr, end.stderr
    assert "Error executing job" not in end.stderr
    assert said in end.stderr
    message = end.stderr[re.search(r"^\w+Error: ", end.stderr, re.MULTILINE).start() :]
    assert re.fullmatch(r"\w+Error: .+[.] Got: .+[.?] Remedy: .+[.?]\n", message, re.DOTALL), message


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


# Stopped, and resumed


def epochs(folder: Path) -> int:
    """Trained so far in a run's folder."""
    file = folder / "history.jsonl"
    return file.read_text().count("\n") if file.exists() else 0


def result(folder: Path) -> tuple[list[dict[str, float]], dict[str, object], bytes]:
    """What a run came to, but for the time it took."""
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    for entry in history:
        del entry["seconds"]
    manifest = json.loads((folder / "bundle" / "manifest.json").read_text())
    return history, manifest["results"]["test"], (folder / "bundle" / "model.onnx").read_bytes()


def test_kill_9_in_training_is_resumed_to_the_same_result(warm: Warm, place: Path, done: Path) -> None:
    folder = place / "killed"
    end = warm.signal(signal.SIGKILL, lambda: epochs(folder / "run") == 2, job(place, "killed"), folder)
    assert end.returncode == -9
    assert Registry(folder / "registry").models() == []
    resumed = warm.run(job(place, "killed", f"training.resume={folder / 'run'}"), folder)
    assert resumed.returncode == 0, resumed.stderr
    assert "epoch 2/4" not in resumed.stderr and "epoch 4/4" in resumed.stderr
    assert result(folder / "run") == result(done)
    assert Registry(folder / "registry").aliases("m") == {"candidate": "1", "champion": "1"}


@pytest.mark.parametrize("moment", ["export", "registering"])
def test_kill_9_later_leaves_no_half_version_and_the_next_run_ends_well(
    warm: Warm, place: Path, done: Path, moment: str
) -> None:
    folder = place / moment
    words = job(place, moment, f"training.resume={done}")
    began = {
        "export": lambda: "Opening the test split" in (folder / "stdout.txt").read_text(),
        "registering": lambda: any((folder / "registry" / "m").glob(".staging-*")),
    }[moment]
    for _ in range(5):  # registering takes milliseconds: it may have ended before the signal
        registered = Registry(folder / "registry").versions("m")
        if warm.signal(signal.SIGKILL, began, words, folder).returncode == -9:
            break
    else:
        pytest.fail("the run was never caught in the act")
    registry = Registry(folder / "registry")
    for version in registry.versions("m"):  # one more, if it was killed just after
        registry.verify("m", version)
    assert len(registry.versions("m")) - len(registered) in (0, 1)
    assert cli.main(["registry", "list", "--registry", registry.path]) == 0
    end = warm.run(words, folder)
    assert end.returncode == 0, end.stderr
    newest = registry.versions("m")[-1]
    registry.verify("m", newest)
    assert registry.aliases("m")["candidate"] == newest


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_say_how_to_go_on_and_that_goes_on(
    warm: Warm, place: Path, number: signal.Signals, status: int
) -> None:
    name = f"a stop by {number.name}"
    folder = place / name
    end = warm.signal(number, lambda: epochs(folder / "run") == 1, job(place, name), folder)
    assert end.returncode == status
    assert "Traceback" not in end.stderr
    said = re.search(r"\nStopped\. .*Go on where the run left off:\n  python train\.py (.*)\n$", end.stderr)
    assert said, end.stderr
    words = shlex.split(said[1])
    assert words[-1] == f"training.resume={folder / 'run'}"
    going = warm.run([*words, f"hydra.run.dir={folder / 'run'}"], folder)
    assert going.returncode == 0, going.stderr
    assert "epoch 1/4" not in going.stderr


def test_sigusr1_ends_training_and_the_run_goes_on_to_its_version(warm: Warm, place: Path) -> None:
    folder = place / "enough"
    words = [*job(place, "enough"), "training.max_epochs=100000", "training.patience=100000"]
    words = list({word.split("=")[0].lstrip("+"): word for word in words}.values())
    end = warm.signal(signal.SIGUSR1, lambda: epochs(folder / "run") >= 1, words, folder)
    assert end.returncode == 0, end.stderr
    assert "Training ended early (SIGUSR1), in epoch" in end.stdout
    assert "kill -USR1" in end.stdout
    assert Registry(folder / "registry").versions("m") == ["1"]


def test_ctrl_c_before_an_epoch_says_that_nothing_is_lost(warm: Warm, place: Path) -> None:
    folder = place / "early"
    words = job(place, "early")
    end = warm.signal(signal.SIGINT, lambda: (folder / "run" / "schema.yaml").exists(), words, folder)
    assert (end.returncode, "Traceback" in end.stderr) == (130, False), end.stderr
    assert "so there is nothing to go on from. The registry is as it was." in end.stderr


# A full disk


def test_a_disk_that_is_full_in_the_run_folder_is_named(warm: Warm, place: Path, registry: Path, done: Path) -> None:
    before = content(registry)
    words = job(place, "full", f"training.resume={done}", registry=registry)
    limit = (done / "bundle" / "report.html").stat().st_size - 1
    end = warm.run(words, place / "full", file_limit=limit)
    check_refusal(end, "The run's folder, and every file that is named, can be read and written.")
    assert content(registry) == before
    end = warm.run(job(place, "fuller", registry=registry), place / "fuller", file_limit=10_000)
    check_refusal(end, "A checkpoint must be written after each epoch.")
    assert content(registry) == before


def test_a_disk_that_is_full_in_the_registry_leaves_it_as_it_was(warm: Warm, place: Path, done: Path) -> None:
    disk = place / "small_disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting a small disk needs rights that this user has not")
    try:
        words = job(place, "first", f"training.resume={done}", registry=disk)
        assert warm.run(words, place / "first").returncode == 0
        before = content(disk)
        check_refusal(warm.run(words, place / "first"), "No space left on device")
        assert content(disk) == before
        assert Registry(disk).aliases("m") == {"candidate": "1", "champion": "1"}
        assert not list(disk.rglob(".staging-*"))
    finally:
        subprocess.run(["umount", disk], check=True)


# Two at once, and secrets


def test_two_runs_at_once_get_a_version_each(warm: Warm, place: Path, done: Path) -> None:
    shared = place / "shared"
    with Warm() as other, ThreadPoolExecutor(2) as pool:
        ends = [
            pool.submit(one.run, job(place, name, f"training.resume={done}", registry=shared), place / name)
            for one, name in ((warm, "one"), (other, "other"))
        ]
        assert [end.result().returncode for end in ends] == [0, 0], [end.result().stderr for end in ends]
    registry = Registry(shared)
    assert registry.versions("m") == ["1", "2"]
    for version in registry.versions("m"):
        registry.verify("m", version)
    assert set(registry.aliases("m")) == {"candidate", "champion"}


@pytest.mark.parametrize("given", ["typed", "by_variable"])
def test_a_password_is_nowhere_in_what_a_run_writes(warm: Warm, place: Path, done: Path, given: str) -> None:
    folder = place / given
    value = CONNECTION if given == "typed" else "${oc.env:TIDEMILL_DB}"
    words = job(place, given, f"data.connection={value}", "tracking.wandb=offline", f"training.resume={done}")
    end = warm.run(words, folder, TIDEMILL_DB=CONNECTION, WANDB_API_KEY="", HOME=str(folder))
    assert end.returncode == 0, end.stderr
    assert list(folder.rglob("run-*.wandb")), "it was tracked"
    holding = [path for path in folder.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert holding == []
    manifest = json.loads((folder / "run" / "bundle" / "manifest.json").read_text())
    assert manifest["settings"]["data"]["connection"] == "postgresql://me:***@db.example.org/x"


def test_a_password_is_nowhere_in_a_refusal_or_a_sweep(warm: Warm, place: Path) -> None:
    secret = [f"data.connection={CONNECTION}", "data=sql", "data.query=select 1"]
    alone = warm.run(
        job(place, "secret", *secret, "data.connection=postgresql://me:hunter2@127.0.0.1:1/x"), place / "secret"
    )
    check_refusal(alone, "(at postgresql://me:***@127.0.0.1:1/x)")
    wrong = warm.run(job(place, "secret", *secret, "data.connection={" + CONNECTION), place / "secret")
    check_refusal(wrong, "Settings must compose.")
    words = [word for word in job(place, "secrets", *secret, "model.width=0,-1") if not word.startswith("hydra.run")]
    warm.run(["-m", *words, f"hydra.sweep.dir={place / 'secrets' / 'trials'}"], place / "secrets")
    for folder in (place / "secret", place / "secrets"):
        assert [path for path in folder.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()] == []
