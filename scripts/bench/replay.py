"""The flights year through the whole loop: what was served, what was decided, and what it was worth.

    python scripts/bench/replay.py [--parts year,faults,shuffled] [--folder FOLDER] [--policy FILE]

year: April to December as they were. faults: April to June with a column that goes missing, another one in another
unit and an airline renamed. shuffled: April to September with all labels permuted, those of the training too: then no
model can be better than another, and none may be promoted, however often one is trained. Each part lasts some minutes
and then as long as its retrainings; its page stays in the folder.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

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
SERVED = 250_000


def play(part: str, folder: Path, words: list[str]) -> dict[str, Any]:
    """What a part came to: `outcome.json` and how long it took."""
    command = [sys.executable, "-m", "tidemill.cli", "replay", "+experiment=flights", *words]
    begun = time.perf_counter()
    subprocess.run([*command, "--folder", str(folder), *PARTS[part]], check=True)
    found: dict[str, Any] = json.loads((folder / "outcome.json").read_text())
    return {**found, "seconds": time.perf_counter() - begun}


def figures(found: dict[str, Any]) -> dict[str, Any]:
    days, decided = found["days"], found["decided"]
    sending = sum(day["seconds"] for day in days)
    champion = found["champion"]
    return {
        "served": found["served"],
        "failed": found["failed"] + found["unrecorded"] + found["twice"],
        "retrainings": decided.get("retrain", 0),
        "promotions": sum(reign["action"] == "promote" for reign in found["reigns"][1:]),
        "rollbacks": sum(reign["action"] == "rollback" for reign in found["reigns"]),
        "champion_log_loss": round(champion["ours"], 5),
        "first_version_log_loss": round(champion["theirs"], 5),
        "difference": [champion[name] and round(champion[name], 5) for name in ("difference", "lower", "upper")],
        "harmful": [reign["version"] for reign in found["reigns"] if reign["harmful"]],
        "fault_days": {one["fault"]: one["delay_days"] for one in found["faults"]},
        "records_per_second": round(found["served"] / sending),
        "sending_seconds": round(sending, 1),
        "waiting_seconds": round(found["waited"], 1),
        "seconds": round(found["seconds"], 1),
    }


def missed(part: str, got: dict[str, Any]) -> list[str]:
    """Targets that a part did not reach."""
    wanted = {"no failed request": got["failed"] == 0, "no harmful promotion": not got["harmful"]}
    if part == "year":
        wanted["at least 250,000 served"] = got["served"] >= SERVED
        wanted["a promotion earned"] = got["promotions"] >= 1
        wanted["champion better, interval off zero"] = (got["difference"][2] or 0) < 0
    if part == "faults":
        named = got["fault_days"]
        wanted["faults named in time"] = all(
            named[fault] is not None and named[fault] <= days for fault, days in FAULTS.items()
        )
    if part == "shuffled":
        wanted["no promotion with shuffled labels"] = got["promotions"] == 0
        wanted["something was trained that could have been promoted"] = got["retrainings"] >= 1
    return [what for what, reached in wanted.items() if not reached]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="SETTING", help="more of train.py's, like training.threads=1")
    parser.add_argument("--parts", default="year,faults,shuffled")
    parser.add_argument("--folder", type=Path, help="new or empty (default: one that is made)")
    parser.add_argument("--policy", type=Path, help="over the replay's own, which trains each month")
    chosen = parser.parse_args()
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="tidemill-replay-"))
    folder.mkdir(parents=True, exist_ok=True)
    words = [*chosen.words, *(["--policy", str(chosen.policy)] if chosen.policy else [])]
    found: dict[str, dict[str, Any]] = {}
    lacking: list[str] = []
    for part in chosen.parts.split(","):
        found[part] = figures(play(part, folder / part, words))
        lacking += [f"{part}: {what}" for what in missed(part, found[part])]
    width = max(len(name) for got in found.values() for name in got)
    print("\n" + " " * width, *(f"{part:>24}" for part in found))
    for name in next(iter(found.values())):
        print(f"{name:<{width}}", *(f"{_shown(got[name]):>24}" for got in found.values()))
    print(f"Pages: {folder}/*/replay.html\n" + ("\n".join(f"missed: {one}" for one in lacking) or "All targets met."))
    print(json.dumps({"bench": "replay", "figures": found, "missed": lacking, "met": not lacking}))


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key.split('@')[0].split(':')[1]} {one}" for key, one in value.items()) or "–"
    return ", ".join(map(str, value)) or "–" if isinstance(value, list) else f"{value}"


if __name__ == "__main__":
    main()
