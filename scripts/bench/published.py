"""Our default TabM on published splits, three seeds, against the published scores of the TabM paper (ICLR 2025).

    python scripts/bench/published.py FOLDER [california adult] [--seeds 3]
    python scripts/bench/published.py --quick

FOLDER holds california_housing.csv.gz (StatLib, Pace & Barry 1997), adult_train.csv.gz and adult_test.csv.gz (UCI
Adult). Each run is `python train.py +experiment=…`; its score is read from the bundle's manifest. A quick run makes
small tables of the same columns up, and trains one epoch on each.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from parts.benchmark import Options, report

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Job:
    """One data set. published, deviation: mean and standard deviation over 15 seeds; unit: of the target."""

    files: dict[str, str]
    metric: str
    higher_is_better: bool
    unit: float
    published: float
    deviation: float
    with_embeddings: float

    @property
    def target(self) -> dict[str, float]:
        if self.higher_is_better:
            return {"at_least": self.published - 2 * self.deviation}
        return {"at_most": self.published + 2 * self.deviation}


# "TabM" of the paper (mlp blocks, no numeric embeddings), and its variant nearest to our default.
JOBS = {
    "california": Job(
        files={"data.path": "california_housing.csv.gz"},
        metric="rmse",
        higher_is_better=False,
        unit=100_000.0,
        published=0.4413920,
        deviation=0.0012174,
        with_embeddings=0.4274698,
    ),
    "adult": Job(
        files={"data.path": "adult_train.csv.gz", "data.test_path": "adult_test.csv.gz"},
        metric="accuracy",
        higher_is_better=True,
        unit=1.0,
        published=0.8574658,
        deviation=0.0007575,
        with_embeddings=0.8700489,
    ),
}


CALIFORNIA = (
    *("longitude", "latitude", "housing_median_age", "total_rooms", "total_bedrooms", "population", "households"),
    *("median_income", "median_house_value"),
)
ADULT_NUMBERS = ("age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week")
ADULT_TEXTS = (
    *("workclass", "education", "marital-status", "occupation", "relationship", "race", "sex", "native-country"),
    "income",
)
ONE_EPOCH = ("training.max_epochs=1", "training.threads=1", "model.members=2", "model.width=16", "model.depth=1")


def score(name: str, job: Job, folder: Path, seed: int, place: Path, *more: str) -> tuple[float, float]:
    """One run: its test score in the published unit, and its training seconds."""
    files = [f"{key}={folder / file}" for key, file in job.files.items()]
    command = [sys.executable, "train.py", f"+experiment={name}", *files, f"seed={seed}", f"registry.path={place}"]
    light = ["tracking.wandb=disabled", "evaluation.importance_rows=0", "evaluation.baselines=[]"]
    subprocess.run([*command, *light, *more, f"hydra.run.dir={place}/{name}-{seed}"], cwd=ROOT, check=True)
    manifest = json.loads((place / f"{name}-{seed}" / "bundle" / "manifest.json").read_text())
    metrics = {metric["name"]: metric["value"] for metric in manifest["results"]["test"]["metrics"]}
    return metrics[job.metric] / job.unit, manifest["results"]["seconds"]


def make_up(folder: Path, rows: int = 400) -> Path:
    """Tables of the same names and columns as the published ones."""
    rng = np.random.default_rng(0)
    numbers = pl.DataFrame({name: rng.normal(1_000, 100, rows).round(1) for name in (*CALIFORNIA, *ADULT_NUMBERS)})
    numbers = numbers.with_columns(median_house_value=rng.normal(200_000, 100_000, rows).round())
    texts = pl.DataFrame({name: rng.choice(["one", "other"], rows) for name in ADULT_TEXTS})
    adult = pl.concat([numbers.select(ADULT_NUMBERS), texts], how="horizontal")
    tables = {"california_housing": numbers.select(CALIFORNIA), "adult_train": adult[100:], "adult_test": adult[:100]}
    for name, table in tables.items():
        table.write_csv(folder / f"{name}.csv.gz", compression="gzip")
    return folder


def main() -> None:
    parser = Options(__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("jobs", nargs="*", default=list(JOBS))
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.chosen(seeds=1)
    if (arguments.folder is None) != arguments.quick:
        parser.error("FOLDER is needed, but for --quick, which makes its tables up")
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as text:
        place = Path(text)
        folder, more = (make_up(place), ONE_EPOCH) if arguments.quick else (arguments.folder, ())
        for name in arguments.jobs:
            runs = [score(name, JOBS[name], folder, seed, place, *more) for seed in range(arguments.seeds)]
            scores, seconds = zip(*runs, strict=True)
            figures |= {name: statistics.fmean(scores), f"{name}_scores": scores, f"{name}_training_seconds": seconds}
    if arguments.quick:
        print("Made-up tables: what is published is not of these.")
    print(f"{'data':<12}{'metric':<10}{'ours':>9}{'TabM':>12}{'TabM-mini + PLE':>22}")
    for name in arguments.jobs:
        job = JOBS[name]
        line = f"{figures[name]:>9.4f}{job.published:>12.4f}{job.with_embeddings:>22.4f}"
        print(f"{name:<12}{job.metric:<10}{line}")
    report(__file__, figures, {name: JOBS[name].target for name in arguments.jobs})


if __name__ == "__main__":
    main()
