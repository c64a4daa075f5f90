"""Evidently's drift preset over the tables of drift.py, run by a Python that has Evidently.

    python evidently_drift.py ROWS BATCHES ANSWERS.json

The answer: CPU seconds to compare two tables of so many rows, and the mean share of columns that are flagged when
batches of 100 rows of the same distribution are compared with 10,000.
"""

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

sys.path.insert(0, str(Path(__file__).parents[1]))
from parts.drifting import table


def compared(reference: pd.DataFrame, live: pd.DataFrame) -> tuple[float, float]:
    """CPU seconds, and the share of columns that drifted by Evidently's defaults."""
    numeric = [name for name in reference if name.startswith("number")]
    definition = DataDefinition(numerical_columns=numeric, categorical_columns=[*set(reference) - set(numeric)])
    begun = time.process_time()
    given = (Dataset.from_pandas(frame, data_definition=definition) for frame in (live, reference))
    found = Report([DataDriftPreset()]).run(*given).dict()
    seconds = time.process_time() - begun
    (counted,) = (one["value"] for one in found["metrics"] if one["metric_name"].startswith("DriftedColumnsCount"))
    return seconds, float(counted["share"])


def main(rows: str, batches: str, answers: str) -> None:
    warnings.simplefilter("ignore")
    seconds, _ = compared(pd.DataFrame(table(int(rows), 0)), pd.DataFrame(table(int(rows), 1)))
    reference = pd.DataFrame(table(10_000, 0))
    shares = [compared(reference, pd.DataFrame(table(100, 10 + seed)))[1] for seed in range(int(batches))]
    Path(answers).write_text(json.dumps({"seconds": seconds, "flagged": float(np.mean(shares))}))


if __name__ == "__main__":
    main(*sys.argv[1:])
