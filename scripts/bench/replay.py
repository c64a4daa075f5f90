"""The flights year through the whole loop: what was served, what was decided, and what it was worth.

    python scripts/bench/replay.py [SETTING …] [--parts year,faults,shuffled] [--folder FOLDER] [--policy FILE]
    python scripts/bench/replay.py --quick

year: April to December as they were. faults: April to June with a column that goes missing, another one in another
unit and an airline renamed. shuffled: April to September with all labels permuted, those of the training too: then no
model can be better than another, and none may be promoted, however often one is trained. Each part lasts some minutes
and then as long as its retrainings; its page stays in the folder. A quick run plays the year by `tidemill replay
--check`: two days of it, with a hastily trained model.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from parts.benchmark import Options, report

ROOT = Path(__file__).parents[2]
FAULTS = {
    "missing:visib@2013-05-06": 2.0,
    "kilometres:distance@2013-05-20": 7.0,
    "renamed:carrier=UA/U9@2013-06-03": 2.0,
}
"""Fault → days within which its column must be named; drift is looked at over a week."""
PARTS = {
    "year": [],
    "faults": ["--until", "2013-07-01", *(word for fault in FAULTS for word in ("--fault", fault))],
    "shuffled": ["--until", "2013-10-01", "--labels", "shuffled"],
}
TARGETS: dict[str, dict[str, dict[str, float]]] = {
    "year": {
        "served": {"at_least": 250_000},
        "promotions": {"at_least": 1},
        "difference_upper": {"below": 0},  # the champion's log loss minus the first version's: its interval's end
    },
    "faults": {"faults_named_late": {"at_most": 0}},
    "shuffled": {"promotions": {"at_most": 0}, "retrainings": {"at_least": 1}},  # something could have been promoted
}
EVERYWHERE = {"failed": {"at_most": 0}, "harmful_promotions": {"at_most": 0}}


def play(part: str, folder: Path, words: list[str]) -> dict[str, Any]:
    """What a part came to: `outcome.json` and how long it took."""
    command = [sys.executable, "-m", "tidemill.cli", "replay", "+experiment=flights", *words]
    begun = time.perf_counter()
    subprocess.run([*command, "--folder", str(folder), *PARTS[part]], cwd=ROOT, check=True)
    found: dict[str, Any] = json.loads((folder / "outcome.json").read_text())
    return {**found, "seconds": time.perf_counter() - begun}


def figures(found: dict[str, Any]) -> dict[str, Any]:
    days, decided = found["days"], found["decided"]
    sending = sum(day["seconds"] for day in days)
    champion = found["champion"]
    named = {one["fault"]: one["delay_days"] for one in found["faults"]}
    return {
        "served": found["served"],
        "failed": found["failed"] + found["unrecorded"] + found["twice"],
        "retrainings": decided.get("retrain", 0),
        "promotions": sum(reign["action"] == "promote" for reign in found["reigns"][1:]),
        "rollbacks": sum(reign["action"] == "rollback" for reign in found["reigns"]),
        "champion_log_loss": round(champion["ours"], 5),
        "first_version_log_loss": round(champion["theirs"], 5),
        "difference": [champion[name] and round(champion[name], 5) for name in ("difference", "lower", "upper")],
        "difference_upper": champion["upper"],
        "harmful": [reign["version"] for reign in found["reigns"] if reign["harmful"]],
        "harmful_promotions": sum(bool(reign["harmful"]) for reign in found["reigns"]),
        "fault_days": named,
        "faults_named_late": sum(named[fault] is None or named[fault] > FAULTS[fault] for fault in named),
        "records_per_second": round(found["served"] / sending),
        "sending_seconds": round(sending, 1),
        "waiting_seconds": round(found["waited"], 1),
        "seconds": round(found["seconds"], 1),
    }


def main() -> None:
    parser = Options(__doc__)
    parser.add_argument("words", nargs="*", metavar="SETTING", help="more of train.py's, like training.threads=1")
    parser.add_argument("--parts", default="year,faults,shuffled")
    parser.add_argument("--folder", type=Path, help="new or empty (default: one made under --cache)")
    parser.add_argument("--policy", type=Path, help="over the replay's own, which trains each month")
    chosen = parser.chosen(parts="year")
    chosen.cache.mkdir(parents=True, exist_ok=True)
    folder = (chosen.folder or Path(tempfile.mkdtemp(prefix="replay-", dir=chosen.cache))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    words = [*chosen.words, *(["--policy", str(chosen.policy.absolute())] if chosen.policy else [])]
    words += ["--check"] if chosen.quick else []
    found = {part: figures(play(part, folder / part, words)) for part in chosen.parts.split(",")}
    width = max(len(name) for got in found.values() for name in got)
    print("\n" + " " * width, *(f"{part:>24}" for part in found))
    for name in next(iter(found.values())):
        print(f"{name:<{width}}", *(f"{_shown(got[name]):>24}" for got in found.values()))
    print(f"Pages: {folder}/*/replay.html")
    flat = {f"{part}_{name}": value for part, got in found.items() for name, value in got.items()}
    wanted = {f"{part}_{name}": bounds for part in found for name, bounds in (EVERYWHERE | TARGETS[part]).items()}
    report(__file__, flat, wanted)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key.split('@')[0].split(':')[1]} {one}" for key, one in value.items()) or "–"
    return ", ".join(map(str, value)) or "–" if isinstance(value, list) else f"{value}"


if __name__ == "__main__":
    main()
