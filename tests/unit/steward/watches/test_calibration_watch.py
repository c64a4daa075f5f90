"""Calibration: a fair game by enumeration, silent for a calibrated model, and where and since when one is not."""

from datetime import timedelta
from itertools import product
from typing import Any

import numpy as np
import polars as pl
import pytest
from live_rows import BEGIN, fed, made, rows, watched

from tidemill.composition import build as checked
from tidemill.settings import Objective
from tidemill.steward.watch import Severity, Watched
from tidemill.steward.watches.calibration import Calibration, Settings, build

SETTINGS = {"alpha": 0.05, "tolerance": 0.0, "bins": 10, "half": 20}


def watch(of: Watched | None = None, **settings: Any) -> Calibration:
    return build(checked(Settings, {**SETTINGS, **settings}), of or watched())


def answered(probabilities: list[float], late: list[float]) -> pl.DataFrame:
    given = rows(len(late), seed=0)
    pairs = [[1 - p, p] for p in probabilities]
    return given.with_columns(
        probabilities=pl.Series(pairs, dtype=pl.List(pl.Float32)),
        true_label=pl.Series(np.where(np.array(late) == 1, "late", "on time")),
    )


@pytest.mark.parametrize("off", [0.0, 0.02, -0.02])
def test_the_expected_evidence_is_at_most_1_after_every_period(off: float) -> None:
    probabilities = [0.1, 0.5, 0.75, 0.875]
    expected = np.zeros(2)
    for late in product([0.0, 1.0], repeat=4):
        followed = watch(tolerance=0.02)
        chance = np.prod(
            np.where(np.array(late) == 1, np.array(probabilities) + off, 1 - np.array(probabilities) - off)
        )
        given = answered(probabilities, list(late))
        for period, part in enumerate((given[:2], given[2:])):
            followed.take(part)
            followed.close(BEGIN, BEGIN)
            expected[period] += chance * np.exp(followed.state.total[0]).mean()
    assert (expected <= sum(20 / ((j + 20) * (j + 21)) for j in range(2)) + 1e-6).all() and (expected > 0.03).all()


@pytest.mark.slow
def test_a_calibrated_model_is_left_alone_over_many_looks() -> None:
    alarms = 0
    for seed in range(25):
        followed = watch(alpha=0.2)
        readings = fed(followed, [rows(400, seed=100 * seed + part) for part in range(10)])
        alarms += any(reading.alarm for period in readings for reading in period)
    assert alarms <= 0.2 * 25
    assert readings[-1][0].subject == "" and readings[-1][0].severity is Severity.ADVICE
    assert readings[-1][0].effect < 0.04 and "of 4,000 rows answered with 0.1" in readings[-1][0].says


def test_what_goes_wrong_after_a_long_time_is_found_with_its_size_and_beginning() -> None:
    periods = [rows(1000, seed=index, wrong=0.0 if index < 15 else 0.7) for index in range(18)]
    last = fed(watch(tolerance=0.01), periods)[-1]
    assert last[0].alarm and last[0].since == BEGIN + 15 * timedelta(seconds=10_000)
    assert last[0].effect == pytest.approx(0.09, abs=0.03) and "since about 2013-06-02 17:40 UTC" in last[0].says
    bins = {reading.subject: reading for reading in last[1:] if reading.alarm}
    assert bins and all(reading.effect > 0.04 for reading in bins.values())
    assert all("0" <= subject.split()[1] < "0.6" for subject in bins)


def test_a_tolerance_is_tolerated() -> None:
    periods = [rows(4000, seed=index, wrong=0.15) for index in range(4)]
    assert any(reading.alarm for reading in fed(watch(), periods)[-1])
    assert not any(reading.alarm for reading in fed(watch(tolerance=0.05), periods)[-1])


def test_parts_json_and_empty_periods_make_no_difference() -> None:
    periods = [rows(300, seed=index, wrong=0.5) for index in range(4)]
    periods.insert(1, periods[0].clear())
    whole = fed(watch(), periods)
    assert whole == fed(watch(), periods, parts=7) == fed(watch(), periods, parts=2, keep=True)
    assert [one.log_e for one in whole[1]] == [one.log_e for one in whole[0]]
    assert watch().close(BEGIN, BEGIN) == []


def test_of_many_classes_it_is_the_one_that_was_answered() -> None:
    described = made(objective=Objective.MULTICLASS)
    of = Watched(manifest=described, profile=watched().profile, losses=watched().losses)
    given = answered([0.25, 0.75], [1, 1]).with_columns(label=pl.Series(["on time", "late"]))
    followed = watch(of)
    followed.take(given)
    assert "of 2 rows answered with 0.750 on average 0.500 came true" in followed.close(BEGIN, BEGIN)[0].says


def test_of_a_regression_it_is_the_interval() -> None:
    rng = np.random.default_rng(0)
    given = pl.DataFrame({"lower": [-1.0] * 2000, "upper": [1.0] * 2000, "true_value": rng.normal(size=2000)})
    for coverage, alarm in ((0.683, False), (0.8, True)):
        described = made({"calibration": {"half_width": 1.0, "coverage": coverage}}, Objective.REGRESSION)
        followed = watch(Watched(manifest=described, profile={}, losses=watched().losses))
        followed.take(given)
        assert followed.close(BEGIN, BEGIN)[0].alarm is alarm
    followed = watch(Watched(manifest=made(objective=Objective.REGRESSION), profile={}, losses=watched().losses))
    followed.take(given)
    assert followed.close(BEGIN, BEGIN) == []
