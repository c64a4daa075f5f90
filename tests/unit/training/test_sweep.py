import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from tidemill.training import sweep
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
    sweep.print_table(
        [
            trial(0.4, "+experiment=flights", "model=tabm"),
            trial(
                None, "+experiment=flights", "model=mlp", status="failed", error="[red]no[/red] room", seconds=math.nan
            ),
        ]
    )
    printed = capsys.readouterr().out
    assert "Ranking by validation loss (+experiment=flights)" in printed
    assert "0.4000" in printed
    assert "[red]no[/red] room" in printed


def test_the_csv_holds_every_figure(tmp_path: Path) -> None:
    trials = [trial(0.4, "a=1", "b=2"), trial(0.5, "a=2", validation={"accuracy": 0.9})]
    sweep.write_table(trials, tmp_path / "ranking.csv")
    rows = list(csv.DictReader((tmp_path / "ranking.csv").read_text().splitlines()))
    assert [row["overrides"] for row in rows] == ["a=1 b=2", "a=2"]
    assert [row["auroc"] for row in rows] == ["0.7", ""]
    assert [row["accuracy"] for row in rows] == ["", "0.9"]


APP = """
import hydra
from pathlib import Path
from hydra.core.hydra_config import HydraConfig
from tidemill.training.sweep import Trial, write

@hydra.main(version_base=None, config_path="conf", config_name="train")
def main(config):
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
hydra:
  sweep: {dir: out}
  callbacks:
    ranking: {_target_: tidemill.training.sweep.Ranking}
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
