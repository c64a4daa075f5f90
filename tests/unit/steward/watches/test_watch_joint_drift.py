"""A dependence that changes while every column stays as it was is found, told by its columns, and let go again."""

import numpy as np
import polars as pl
import pytest

from tidemill.data.profiles.variation import cell_numbers
from tidemill.steward.watch import Reading
from tidemill.steward.watches import drift, joint_drift
from tidemill.steward.watches.parts.classifier import Classifier, Features
from tidemill.steward.watches.parts.samples import Sample
from watched_rows import DAY, START, Change, period, watched

WATCHED = watched()
SETTINGS = {"alpha": 0.05, "half": 50, "reference_rows": 2_000, "days": 4, "smallest": 0.05, "unwatched": []}
ALONE = {"alpha": 0.05, "half": 200, "days": 7, "smallest": 0.05, "unwatched": []}


def joint(**changed: object) -> joint_drift.JointDrift:
    return joint_drift.build(joint_drift.Settings(**{**SETTINGS, **changed}), WATCHED)  # type: ignore[arg-type]


def independent(frame: pl.DataFrame) -> pl.DataFrame:
    """Every column holds what it held; wind no longer goes with distance."""
    return frame.with_columns(pl.col("wind").shuffle(seed=7))


def told(watch: joint_drift.JointDrift, changed: range, until: int, rows: int = 700, seed: int = 0) -> list[Reading]:
    rng, found = np.random.default_rng(seed), []
    for day in range(until):
        change: Change = independent if day in changed else lambda frame: frame
        watch.take(period(rng, rows, START + day * DAY, change=change))
        (reading,) = watch.close(START + day * DAY, START + (day + 1) * DAY)
        found.append(reading)
    return found


def test_a_dependence_that_ends_is_found_and_told_and_its_return_ends_the_alarm() -> None:
    found = told(joint(), range(9, 15), until=30)
    alarmed = [day for day, reading in enumerate(found) if reading.alarm]
    assert alarmed[0] in (9, 10, 11) and alarmed == list(range(alarmed[0], alarmed[-1] + 1)) and alarmed[-1] < 20
    reading = found[13]
    assert "distance with wind" in reading.says.partition("most by ")[2]
    assert reading.effect > 0.05 and reading.since is not None
    assert START + 9 * DAY <= reading.since <= START + 11 * DAY
    assert found[2].says == "The reference is gathered: 2,100 of 2,000 rows, 3 of 4 days."


def test_no_column_alone_shows_it() -> None:
    watch = drift.build(drift.Settings(**ALONE), WATCHED)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    for day in range(15):
        watch.take(period(rng, 700, START + day * DAY, change=independent))
        assert not any(reading.alarm for reading in watch.close(START + day * DAY, START + (day + 1) * DAY))


@pytest.mark.slow
def test_rows_of_one_law_raise_no_more_alarms_than_stated() -> None:
    """With nothing but evidence to hold alarms back."""
    false = 0
    for seed in range(12):
        found = told(joint(smallest=0.0, reference_rows=200, days=1), range(0), until=25, rows=120, seed=seed)
        false += any(reading.alarm for reading in found)
    assert false <= 2


def test_days_that_differ_among_themselves_are_no_reference_for_small_differences() -> None:
    """Calm days and windy ones take turns, in the reference too."""
    watch, rng = joint(), np.random.default_rng(0)
    for day in range(20):
        own = 3.0 * (-1) ** day
        rows = period(rng, 700, START + day * DAY, change=lambda f, own=own: f.with_columns(pl.col("wind") + own))
        watch.take(rows)
        (reading,) = watch.close(START + day * DAY, START + (day + 1) * DAY)
        assert not reading.alarm, reading


def test_a_sample_is_the_same_in_parts_and_every_row_is_as_likely() -> None:
    codes = (np.arange(20_000) // 200).astype(np.uint8)[:, None]
    whole, parted = Sample(size=500, columns=1), Sample(size=500, columns=1)
    whole.add(len(codes), lambda places: codes[places])
    for part in np.split(codes, [3, 600, 600, 9_000]):
        parted.add(len(part), lambda places, part=part: part[places])
    assert np.array_equal(whole.codes, parted.codes) and np.array_equal(whole.shuffled(), parted.shuffled())
    counts = np.bincount(whole.codes[:, 0] // 10, minlength=10)
    assert counts.sum() == 500 and counts.min() > 25
    assert np.bincount(whole.shuffled()[:100, 0] // 50).min() > 30, "its first rows are a sample, too"


@pytest.mark.parametrize("column", ["distance", "carrier", "night"])
def test_features_have_mean_0_and_variance_1_on_the_reference(column: str) -> None:
    entry = WATCHED.profile["inputs"]["columns"][column]
    features = Features.of({column: entry})
    rows = period(np.random.default_rng(0), 4_000, START)["inputs"].struct.unnest()
    values = features(cell_numbers(rows[column], entry)[0][:, None].astype(np.uint8))
    assert values.shape[1] == {"distance": 2, "carrier": 3, "night": 1}[column]
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=0.06)
    np.testing.assert_allclose(values.std(axis=0), 1, atol=0.06)


def test_a_classifier_finds_a_pair_among_many_columns() -> None:
    rng = np.random.default_rng(0)
    first, second, test = (rng.normal(size=(3_000, 30)) for _ in range(3))
    for part in (second, test):
        part[:, 7] = 0.6 * part[:, 3] + 0.8 * part[:, 7]
    fitted = Classifier.fit(first, second, np.arange(30))
    assert fitted.names([f"x{i}" for i in range(30)], 1) == ["x3 with x7"]
    assert np.mean(fitted(test) > np.median(fitted(rng.normal(size=(3_000, 30))))) > 0.55
