"""Stands in for train.py: `bundle=FOLDER mode=…` and the words that the steward adds; a checkpoint, then a version.

It goes on to its next step when a file named like the step lies in the run's folder.
"""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tidemill.bundle import checksums, manifest
from tidemill.bundle.registry.registry import Registry

WORDS = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
RUN = Path(WORDS["hydra.run.dir"].strip("'"))


def wait(step: str) -> None:
    end = time.monotonic() + 240  # a program of its own, which finds no module of the tests
    while not (RUN / step).exists():
        assert time.monotonic() < end, step
        time.sleep(0.01)


def note() -> None:
    RUN.mkdir(parents=True, exist_ok=True)
    status = {
        "pid": os.getpid(),
        "nice": os.nice(0),
        "idle": os.sched_getscheduler(0) == os.SCHED_IDLE,
        "threads": os.environ["OMP_NUM_THREADS"],
        "resumed": "training.resume" in WORDS,
        "child": subprocess.Popen(["sleep", "60"]).pid if WORDS["mode"] == "children" else None,
    }
    (RUN / ".status").write_text(json.dumps(status))
    (RUN / ".status").replace(RUN / "status.json")


def register() -> None:
    bundle = RUN / "bundle"
    shutil.rmtree(bundle, ignore_errors=True)
    shutil.copytree(WORDS["bundle"], bundle)
    described = manifest.read(bundle)
    results = {**described.results, "run": str(RUN), "gate": {"passed": True, "reasons": ["It is better."]}}
    manifest.write(dataclasses.replace(described, results=results), bundle)
    checksums.write(bundle)
    Registry(WORDS["registry.path"].strip("'")).add(WORDS["name"].strip("'"), bundle)


if WORDS["mode"] == "fail":
    print("epoch 1")
    sys.exit("SplitError: No split may be empty. Got: test 0 rows.\n  Remedy: give more rows.")
note()
if WORDS["mode"] == "checkpoint":
    (RUN / "checkpoints").mkdir(exist_ok=True)
    (RUN / "checkpoints" / "last.ckpt").touch()
wait("train")
register()
(RUN / "registered").touch()
wait("end")
