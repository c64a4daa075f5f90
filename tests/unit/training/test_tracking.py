import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from offline_run import config, history, media, records, summary
from patience import until
from tidemill.errors import TrackingError
from tidemill.settings import TrackingSettings, WandbMode
from tidemill.training import tracking


def settings(mode: str, **changes: object) -> TrackingSettings:
    values = {"project": "mill", "entity": None, "group": None, "tags": ["one", "two"], "log_bundle": True}
    return TrackingSettings(wandb=WandbMode(mode), **(values | changes))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No account and no files of the machine's user: as on a clean machine."""
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_DATA_DIR", "WANDB_MODE", tracking._STAGED):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(home))
    monkeypatch.setenv("NETRC", str(home / ".netrc"))
    yield
    import wandb

    wandb.teardown()


@pytest.mark.slow
def test_the_offline_file_holds_what_was_logged(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    (bundle / "deep").mkdir(parents=True)
    (bundle / "model.onnx").write_bytes(b"graph")
    (bundle / "deep" / "golden.json").write_text("{}")
    setup = {"training": {"batch_size": 512, "mode": WandbMode.AUTO}, "path": tmp_path}
    rows: list[list[Any]] = [["leak", 3], ["ranges", None], ["mixed", "x"]]

    tracker = tracking.open(settings("auto"), name="Flüge 1", config=setup, folder=tmp_path, group="sweep-7")
    tracker.table("quality", ["check", "rows"], rows)  # before the first step: must not use it up
    for epoch in range(4):
        tracker.log({"train_loss": 1.0 / (epoch + 1), "validation_loss": float("nan")}, step=epoch)
    tracker.figure("roc", go.Figure(go.Scatter(y=[0, 1])))
    tracker.summary({"auroc": 0.75, "verdict": {"passed": True}})
    tracker.artifact("flüge/1", bundle, "bundle")
    tracker.finish()

    assert tracker.where == str(next(tmp_path.glob("wandb/offline-run-*")))
    run = records(tmp_path, "run")[0]
    assert (run.project, run.display_name, run.run_group) == ("mill", "Flüge 1", "sweep-7")
    assert list(run.tags) == ["one", "two"]
    assert config(tmp_path)["training"] == {"batch_size": 512, "mode": "auto"}
    assert config(tmp_path)["path"] == str(tmp_path)

    steps = history(tmp_path)
    assert [steps[epoch]["train_loss"] for epoch in range(4)] == [1.0, 0.5, pytest.approx(1 / 3), 0.25]
    assert media(tmp_path, "quality")["columns"] == ["check", "rows"]
    assert media(tmp_path, "quality")["data"] == rows
    assert media(tmp_path, "roc")["data"][0]["type"] == "scatter"

    assert summary(tmp_path)["auroc"] == 0.75

    (artifact,) = [artifact for artifact in records(tmp_path, "artifact") if artifact.type == "bundle"]
    assert artifact.name == "fl-ge-1"
    contents = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
    assert contents == {"model.onnx": bundle / "model.onnx", "deep/golden.json": bundle / "deep" / "golden.json"}


def test_nothing_is_written_outside_the_folder(tmp_path: Path) -> None:
    for name in ("first", "second"):
        tracker = tracking.open(settings("offline"), name=name, config={}, folder=tmp_path / name)
        tracker.table("rows", ["a"], [[1]])
        tracker.finish()
        assert list((tmp_path / name).glob("wandb/artifacts/staging/*"))
    assert not list((tmp_path / "home").rglob("*wandb*/artifacts"))


@pytest.mark.slow
def test_a_staging_folder_of_the_user_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "mine"))
    tracker = tracking.open(settings("offline"), name="n", config={}, folder=tmp_path / "run")
    tracker.finish()
    assert os.environ["WANDB_DATA_DIR"] == str(tmp_path / "mine")


def test_the_group_that_was_set_wins(tmp_path: Path) -> None:
    tracking.open(settings("offline", group="mine"), name="n", config={}, folder=tmp_path, group="sweep").finish()
    assert records(tmp_path, "run")[0].run_group == "mine"


def test_online_without_a_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrackingError) as caught:
        tracking.open(settings("online"), name="n", config={}, folder=tmp_path)
    assert str(caught.value) == (
        "tracking.wandb=online needs a W&B API key. Got: no WANDB_API_KEY in the environment and no entry in "
        "~/.netrc. Remedy: run `wandb login`, set WANDB_API_KEY, or set tracking.wandb=offline and sync later."
    )


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["auto", "online"])
def test_an_unreachable_server_means_offline(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "home" / ".netrc").write_text("machine 127.0.0.1:9 login user password " + "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(tracking, "INIT_SECONDS", 1.0)
    tracker = tracking.open(settings(mode), name="n", config={}, folder=tmp_path)
    tracker.log({"loss": 0.5}, step=0)
    tracker.finish()
    assert history(tmp_path)[0]["loss"] == 0.5
    assert "W&B could not start online" in caplog.text


def test_a_folder_that_cannot_be_written_only_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    tracker = tracking.open(settings("offline"), name="n", config={}, folder=tmp_path / "file" / "run")
    tracker.log({"loss": 0.5}, step=0)
    tracker.finish()
    assert tracker.where == ""
    assert caplog.text.count("W&B could not start offline") == 1


def test_failures_are_reported_once_and_kill_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracker = tracking.open(settings("offline"), name="n", config={}, folder=tmp_path)
    tracker.table("ragged", ["a", "b"], [[1]])
    tracker.table("ragged", ["a", "b"], [[1]])
    tracker.log({"loss": 0.5}, step=0)
    tracker.finish()
    tracker.log({"loss": 0.4}, step=1)
    assert [record.name for record in caplog.records if record.levelno >= logging.WARNING] == [tracking.__name__]
    assert "the run goes on" in caplog.text
    assert history(tmp_path)[0]["loss"] == 0.5


@pytest.mark.slow
def test_disabled_never_imports_wandb_and_offline_leaves_no_process(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from tidemill.settings import TrackingSettings, WandbMode
from tidemill.training import tracking

def settings(mode):
    return TrackingSettings(wandb=WandbMode(mode), project="p", entity=None, group=None, tags=[], log_bundle=False)

tracker = tracking.open(settings("disabled"), name="n", config={}, folder=Path("nowhere"))
tracker.log({"a": 1.0}, step=0)
tracker.table("t", ["a"], [[1]])
tracker.figure("f", None)
tracker.summary({})
tracker.artifact("a", Path("nowhere"), "bundle")
tracker.finish()
assert "wandb" not in sys.modules and not Path("nowhere").exists()
tracking.open(settings("offline"), name="n", config={}, folder=Path("run")).log({"a": 1.0}, step=0)
print(os.getpid())
if sys.argv[1] == "killed":
    os.kill(os.getpid(), 9)
"""
    for end in ("finished", "killed"):
        done = subprocess.run([sys.executable, "-c", code, end], cwd=tmp_path, capture_output=True, text=True)
        assert done.stderr == ""
        wait_until_gone(f"--pid\0{done.stdout.strip()}\0")


def wait_until_gone(command: str) -> None:
    until(lambda: command not in command_lines(), f"the end of {command}")


def command_lines() -> str:
    texts = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended while we looked
            texts.append(file.read_text(errors="replace"))
    return "\n".join(texts)
