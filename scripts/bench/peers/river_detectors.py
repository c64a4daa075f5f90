"""River's drift detectors over the streams of evidence.py, run by a Python that has River.

    python river_detectors.py STREAMS.npy STEADY.npy ANSWERS.json

Both files hold 0 and 1 as uint8 [streams, values]; they are equal up to the change, half-way. The answer is the
place of each stream's first alarm, counted from 1, or one more than there are values, by detector, for both files.
"""

import copy
import json
import multiprocessing
import sys
from pathlib import Path
from typing import Any

import numpy as np
from river import drift
from river.drift import binary

DETECTORS = {
    "ADWIN": drift.ADWIN,
    "Page-Hinkley": drift.PageHinkley,
    "DDM": binary.DDM,
    "EDDM": binary.EDDM,
    "HDDM_A": binary.HDDMA,
    "HDDM_W": binary.HDDMW,
}


def first(detector: Any, values: list[int], start: int) -> int:
    for place, value in enumerate(values, start=start + 1):
        detector.update(value)
        if detector.drift_detected:
            return place
    return 0


def alarms(pair: tuple[list[int], list[int]]) -> dict[str, list[int]]:
    """By detector: its first alarms in the stream that changes and in the one that does not."""
    found = {}
    changed, steady = pair
    half, never = len(changed) // 2, len(changed) + 1
    for name, make in DETECTORS.items():
        detector = make()
        early = first(detector, changed[:half], 0)
        tails = ((copy.deepcopy(detector), changed), (detector, steady))
        found[name] = [early or first(one, tail[half:], half) or never for one, tail in tails]
    return found


def main(streams: str, steady: str, answers: str) -> None:
    pairs = list(zip(np.load(streams).tolist(), np.load(steady).tolist(), strict=True))
    with multiprocessing.Pool() as pool:
        results = pool.map(alarms, pairs, chunksize=20)
    kinds = ("changed", "steady")
    answer = {name: {kind: [found[name][i] for found in results] for i, kind in enumerate(kinds)} for name in DETECTORS}
    Path(answers).write_text(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
