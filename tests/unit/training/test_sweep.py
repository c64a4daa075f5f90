import csv
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tidemill.training import ranking, sweep
from tidemill.training.sweep import Trial


def trial(loss: float | None, *overrides: str, **changes: object) -> Trial:
    values = {"status": "done", "validation": {"auroc": 0.7}, "seconds": 12.3} | changes
    return Trial(overrides=overrides, validation_loss=loss, **values)  # type: ignore[arg-type]


def save(folder: Path, name: str, content: Trial) -> None:
    (folder / name).mkdir()
    sweep.write(content, folder / name)


def test_best_first_and_those_without_a_loss_last(tmp_path: Path) -> None:
    save(tmp_path, "0", trial(0.5, "model=mlp"))
    save(tmp_path, "1", trial(math.nan, "model=linear"))
    save(tmp_path, "2", trial(0.1, "model=resnet", status="failed", error="TrainingError: the loss is not finite"))
    save(tmp_path, "3", trial(0.4, "model=tabm", version="7"))
    save(tmp_path, "10", trial(0.4, "model=ft"))
    ranked = sweep.rank(tmp_path)
    assert [t.folder for t in ranked] == ["3", "10", "0", "1", "2"]
    assert ranked[0].version == "7"
    assert ranked[0].overrides == ("model=tabm",)


def test_a_result_comes_back_as_it_was(tmp_path: Path) -> None:
    content = trial(0.25, "data.path=ä b.csv", error="Straße\n<b>", version="3")
    save(tmp_path, "0", content)
    (back,) = sweep.rank(tmp_path)
    assert back == Trial(**{**{name: getattr(content, name) for name in Trial.__slots__}, "folder": "0"})
    assert [path.name for path in (tmp_path / "0").iterdir()] == ["result.json"]


def test_trials_that_left_no_readable_result_are_failed(tmp_path: Path) -> None:
    for name, text in {
        "0": None,
        "1": "",
        "2": '{"overrides": ["a=1"]}',
        "3": '{"overrides": ["a=1"], "x": 1}',
    }.items():
        (tmp_path / name / ".hydra").mkdir(parents=True)
        (tmp_path / name / ".hydra" / "overrides.yaml").write_text(f"- a={name}\n")
        if text is not None:
            (tmp_path / name / "result.json").write_text(text)
    (tmp_path / "4" / ".hydra").mkdir(parents=True)
    ranked = sweep.rank(tmp_path)
    assert [t.status for t in ranked] == ["failed"] * 5
    assert ranked[0].overrides == ("a=0",)
    assert ranked[0].error == "ended without a result"
    assert (ranked[1].error or "").startswith("result.json: JSONDecodeError")
    assert ranked[4].overrides == ()


def test_an_empty_folder_has_no_trials(tmp_path: Path) -> None:
    assert sweep.rank(tmp_path) == []


def test_the_printed_table_leaves_out_what_all_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ranking.print_table(
        [
            trial(0.4, "+experiment=flights", "model=tabm"),
            trial(
                None, "+experiment=flights", "model=mlp", status="failed", error="[red]no[/red] room", seconds=math.nan
            ),
        ]
    )
    printed = capsys.readouterr().out
    assert "All trials: +experiment=flights\n" in printed and "Ranking by validation loss" in printed
    assert "0.4000" in printed
    assert "[red]no[/red] room" in printed


def test_the_csv_holds_every_figure(tmp_path: Path) -> None:
    trials = [trial(0.4, "a=1", "b=2"), trial(0.5, "a=2", validation={"accuracy": 0.9})]
    ranking.write_table(trials, tmp_path / "ranking.csv")
    rows = list(csv.DictReader((tmp_path / "ranking.csv").read_text().splitlines()))
    assert [row["overrides"] for row in rows] == ["a=1 b=2", "a=2"]
    assert [row["auroc"] for row in rows] == ["0.7", ""]
    assert [row["accuracy"] for row in rows] == ["", "0.9"]


def test_the_metrics_rank_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the loss finds best need not be so by the main metric: both are said, and which one ranks."""
    for name, loss, auroc in (("0", 0.40, 0.80), ("1", 0.41, 0.83), ("2", 0.42, 0.80)):
        save(tmp_path, name, trial(loss, "a=1", f"b={name}", validation={"accuracy": 0.9, "auroc": auroc}))
    save(tmp_path, "3", trial(None, "a=1", "b=3", status="failed", validation={}))
    trials = sweep.rank(tmp_path)
    assert sweep.main_metric(trials) == "auroc"
    assert sweep.places_by(trials, "auroc") == {"0": 2, "1": 1, "2": 2}
    ranking.print_table(trials)
    printed = capsys.readouterr().out
    assert "Ranking by validation loss; (1): the best by that metric" in printed
    assert "0.8000 (2)" in printed and "0.8300 (1)" in printed
    assert "By auroc, b=1 is the best: 0.8300 against 0.8000." in printed
    ranking.write_table(trials, tmp_path / "ranking.csv")
    rows = list(csv.DictReader((tmp_path / "ranking.csv").read_text().splitlines()))
    assert [row["rank_by_auroc"] for row in rows] == ["2", "1", "2", ""]


def test_a_loss_is_better_when_it_is_lower(tmp_path: Path) -> None:
    for name, rmse in (("0", 3.0), ("1", 2.0)):
        save(tmp_path, name, trial(0.4, f"b={name}", validation={"r2": 0.5, "rmse": rmse}))
    trials = sweep.rank(tmp_path)
    assert sweep.main_metric(trials) == "rmse" and sweep.places_by(trials, "rmse") == {"0": 2, "1": 1}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3, "10 seconds"),
        (44, "40 seconds"),
        (89, "90 seconds"),
        (100, "2 minutes"),
        (250, "4 minutes"),
        (9_000, "2 hours"),
    ],
)
def test_the_time_left_is_said_roundly(seconds: float, text: str) -> None:
    assert ranking.time_left(seconds) == f"about {text} left"


APP = """
import hydra
import logging
from pathlib import Path
from hydra.core.hydra_config import HydraConfig
from tidemill.training.sweep import Trial, write

@hydra.main(version_base=None, config_path="conf", config_name="train")
def main(config):
    logging.getLogger("tidemill.data.dataset").info("Schema of %s", config.data.path)
    runtime = HydraConfig.get()
    failed = config.width == 3
    write(
        Trial(
            overrides=tuple(runtime.overrides.task),
            status="failed" if failed else "done",
            validation_loss=None if failed else 1 / config.width,
            validation={} if failed else {"auroc": 0.5},
            seconds=0.1,
            error="TrainingError: no" if failed else None,
        ),
        Path(runtime.runtime.output_dir),
    )

main()
"""
CONF = """
width: 1
data: {path: t.csv}
hydra:
  sweep: {dir: out}
  callbacks:
    ranking: {_target_: tidemill.training.ranking.Ranking}
"""


def test_a_real_multirun_ends_in_the_table(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "train.yaml").write_text(CONF)
    (tmp_path / "app.py").write_text(APP)
    command = [sys.executable, "app.py", "-m", "width=2,3,4"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "callback" not in done.stderr.lower()
    assert done.stdout.index("width=4") < done.stdout.rindex("width=2") < done.stdout.rindex("width=3")
    rows = list(csv.DictReader((tmp_path / "out" / "ranking.csv").read_text().splitlines()))
    assert [row["overrides"] for row in rows] == ["width=4", "width=2", "width=3"]
    assert rows[2]["error"] == "TrainingError: no"
    assert json.loads((tmp_path / "out" / "1" / "result.json").read_text())["status"] == "failed"


def test_a_multirun_says_how_far_it_is_and_shows_the_data_once(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "train.yaml").write_text(CONF)
    (tmp_path / "app.py").write_text(APP)
    command = [sys.executable, "app.py", "-m", "data.path=a.csv,b.csv", "width=range(1,3)"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "callback" not in done.stderr.lower(), done.stderr
    lines = [line.partition(" - ")[2] for line in done.stdout.splitlines() if "INFO" in line]
    assert [re.sub(r", about \d+ \w+ left", ", T left", line) for line in lines if line.startswith("Trial")] == [
        "Trial 1 of 4: data.path=a.csv width=1",
        "Trial 2 of 4, T left: data.path=a.csv width=2",
        "Trial 3 of 4, T left: data.path=b.csv width=1",
        "Trial 4 of 4, T left: data.path=b.csv width=2",
    ]
    assert [line for line in lines if line.startswith("Schema")] == ["Schema of a.csv", "Schema of b.csv"]
