"""Service: slow requests, counted once each, against what is allowed and their own past; answers that are no number."""

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from live_rows import BEGIN, fed, rows, watched

from tidemill.composition import build as checked
from tidemill.steward.watch import Reading, Severity
from tidemill.steward.watches.service import Service, Settings, build

SETTINGS = {
    "alpha": 0.05,
    "slow_ms": 5.0,
    "slow_share": 0.01,
    "broken_share": 0.001,
    "half": 5000,
    "burn_in": 500,
}


def watch(**settings: Any) -> Service:
    return build(checked(Settings, {**SETTINGS, **settings}), watched())


def served(number: int, seed: int, slow: float, period: int = 0) -> pl.DataFrame:
    latency = np.where(np.random.default_rng(seed).random(number) < slow, 9_000, 1_000)
    given = rows(number, seed=seed, begin=BEGIN + period * timedelta(seconds=1_000))
    return given.with_columns(latency_us=pl.Series(latency))


def by_check(readings: list[Reading]) -> dict[str, Reading]:
    return {reading.check: reading for reading in readings}


def test_as_slow_as_allowed_is_silent() -> None:
    found = fed(watch(), [served(1000, seed, 0.01, seed) for seed in range(8)])
    assert not any(reading.alarm for period in found for reading in period)
    last = by_check(found[-1])
    assert {*last} == {"slow", "slower", "broken"}
    assert last["slow"].says.endswith("of requests took over 5 ms, allowed 1.00%.")
    assert last["slow"].severity is Severity.HARM and last["slower"].severity is Severity.ADVICE


def test_a_rise_within_what_is_allowed_is_advice_and_one_above_it_harm() -> None:
    shares = [0.02, 0.02, 0.02, 0.15, 0.15]
    given = [served(1000, index, share, index) for index, share in enumerate(shares)]
    advice = by_check(fed(watch(slow_share=0.2), given)[-1])
    assert advice["slower"].alarm and not advice["slow"].alarm and not advice["broken"].alarm
    since = advice["slower"].since
    assert since is not None and abs(since - (BEGIN + timedelta(seconds=3_000))) < timedelta(seconds=100)
    assert advice["slower"].effect == pytest.approx(0.13, abs=0.03)
    harm = by_check(fed(watch(slow_share=0.05), given)[-1])["slow"]
    assert harm.alarm and "of requests took over 5 ms since about" in harm.says


def test_the_rows_of_a_request_count_once_even_across_parts() -> None:
    one = served(400, 1, 1.0).with_columns(request=pl.concat_str(pl.lit("r"), pl.int_range(400) // 100))
    counts = []
    for parts in (1, 7):
        followed = watch()
        fed(followed, [one], parts=parts)
        counts.append(followed.state.streams["slow"].count)
    assert counts == [4, 4]


@pytest.mark.parametrize("odd", [None, [float("nan"), 0.5], [float("inf"), 0.0], [None, 1.0]])
def test_answers_that_are_no_number_are_harm(odd: Any) -> None:
    given = served(300, 1, 0.0)
    broken = pl.Series([odd] * 20 + [[0.5, 0.5]] * 280, dtype=pl.List(pl.Float32))
    found = by_check(fed(watch(), [given.with_columns(probabilities=broken)])[0])["broken"]
    assert found.alarm and found.severity is Severity.HARM and "of answers are no number" in found.says
    values = pl.Series([1.0] * 299 + [float("nan")], dtype=pl.Float32)
    numbers = given.with_columns(probabilities=pl.lit(None, pl.List(pl.Float32)), value=values)
    assert by_check(fed(watch(), [numbers])[0])["broken"].effect == pytest.approx(1 / 300 - 0.001)


def test_parts_json_and_empty_periods_make_no_difference() -> None:
    given = [served(300, seed, 0.05 * seed, seed) for seed in range(4)]
    given.insert(1, given[0].clear())
    whole = fed(watch(burn_in=100), given)
    assert whole == fed(watch(burn_in=100), given, parts=7) == fed(watch(burn_in=100), given, parts=2, keep=True)
    assert {one.says for one in whole[1]} == {"no requests in this period."}
