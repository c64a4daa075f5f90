"""Expected performance: what labels say later, from inputs that moved and a model that is off; and its parts."""

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from live_rows import BEGIN, LOSS, fed, made, rows, watched

from reread import reread
from tidemill.composition import build as checked
from tidemill.settings import Objective
from tidemill.steward import losses
from tidemill.steward.watch import Learner, Reading, Severity, Watched
from tidemill.steward.watches.expected import Expected, Settings, build
from tidemill.steward.watches.parts.covariates import Coder, weights

SETTINGS = {
    "alpha": 0.05,
    "tolerance": 0.05,
    "half": 5000,
    "sampled": 1000,
    "remembered": 2000,
}


def watch(upper: float | None = LOSS, **settings: Any) -> Expected:
    return build(checked(Settings, {**SETTINGS, **settings}), watched(upper))


def expectation(readings: list[Reading]) -> float:
    """As it is said."""
    (reading,) = readings
    return float(reading.says.split("expected to be ")[1].split(" ")[0])


@pytest.mark.parametrize(("wrong", "windy"), [(0.0, 0.0), (0.0, 1.5), (0.7, 0.0), (0.7, 1.5)])
def test_labels_later_say_what_was_expected(wrong: float, windy: float) -> None:
    """Better than the labels of before, where inputs moved; better than the model's own word, where that is off."""
    apart = []
    for seed in range(6):
        followed = watch()
        before, now = rows(2000, seed=seed, wrong=wrong), rows(3000, seed=100 + seed, windy=windy, wrong=wrong)
        alone = watch()
        followed.learn(before)
        for each in (followed, alone):
            each.take(now)
        by = watched().losses
        said = by.unscaled(float(by.of(now).mean()))
        guesses = [expectation(each.close(BEGIN, BEGIN)) for each in (followed, alone)]  # type: ignore[arg-type]
        apart.append([guess - said for guess in (*guesses, by.unscaled(float(by.of(before).mean())))])
    ours, own, past = np.sqrt(np.square(apart).mean(axis=0))
    assert ours < 0.04
    assert windy == 0 or past > 3 * ours
    assert wrong == 0 or own > 2 * ours


def test_evidence_comes_with_inputs_that_moved_and_not_without() -> None:
    for upper in (LOSS, None):
        followed = watch(upper)
        followed.learn(rows(1000, seed=7))
        moved = [0.0, 0.0, 0.0, 2.0, 2.0, 2.0]
        periods = [
            rows(1000, seed=part, windy=by, begin=BEGIN + part * timedelta(seconds=1000))
            for part, by in enumerate(moved)
        ]
        found = fed(followed, periods)
        assert not any(reading.alarm for period in found[:3] for reading in period)
        last = found[-1][0]
        assert last.alarm and last.severity is Severity.ADVICE and last.effect > 0.1
        assert last.since is not None and abs(last.since - BEGIN - timedelta(seconds=3000)) < timedelta(seconds=200)
        assert (
            "labelled rows that count as" in last.says and f"risen about {last.since:%Y-%m-%d %H:%M} UTC" in last.says
        )


def test_without_labels_the_models_own_word_is_held_to_the_bundle_or_its_past() -> None:
    for upper, than in ((LOSS, "0.3685 allowed."), (None, "labels will tell what to hold it against.")):
        (reading,) = fed(watch(upper), [rows(1000, seed=1)])[0]
        assert reading.says.endswith(than) and "labelled" not in reading.says and not reading.alarm


def test_without_a_figure_of_the_bundle_a_model_that_is_off_is_held_to_what_its_labels_came_to() -> None:
    followed = watch(None)
    periods = [rows(1000, seed=part, wrong=0.4, begin=BEGIN + part * timedelta(seconds=1000)) for part in range(12)]
    assert not any(reading.alarm for period in fed(followed, periods[:3]) for reading in period)
    followed.learn(rows(2000, seed=50, wrong=0.4))
    assert not any(reading.alarm for period in fed(followed, periods[3:]) for reading in period)
    moved = [rows(1000, seed=60 + part, wrong=0.4, windy=2.0, begin=BEGIN) for part in range(6)]
    assert fed(followed, moved)[-1][0].alarm


def test_parts_json_and_empty_periods_make_no_difference() -> None:
    def run(parts: int, keep: bool) -> list[list[Reading]]:
        followed, found = watch(sampled=100, remembered=150), []
        for index, number in enumerate([700, 0, 300, 450]):
            given, known = (rows(number, seed=10 * index + kind, windy=0.2 * index) for kind in (0, 1))
            size = -(-max(number, 1) // parts)
            for part in range(parts):
                followed.learn(known.slice(part * size, size))
                followed.take(given.slice(part * size, size))
                if keep:
                    state = reread(followed.state)
                    followed = watch(sampled=100, remembered=150)
                    followed.state = state
            found.append(list(followed.close(BEGIN, BEGIN)))
        return found

    whole = run(1, keep=False)
    assert whole[1][0].says == "no answers in this period." and whole[1][0].effect == 0
    assert whole == run(7, keep=False) == run(3, keep=True)


def test_a_regression_learns_where_its_errors_are() -> None:
    described = made(objective=Objective.REGRESSION)
    settings = losses.Settings(name="auto", smallest_probability=0.01, costs={}, scale=5.0, bounds=[])
    answers = {"columns": {"value": {"edges": [-1.0, 0.0, 1.0]}}}
    profile = {"inputs": watched().profile["inputs"], "answers": answers}
    of = Watched(manifest=described, profile=profile, losses=losses.make(settings, described.identity))

    def noisy(windy: float, seed: int) -> pl.DataFrame:
        found = rows(2000, seed=seed, windy=windy)
        wind = found["inputs"].struct.field("wind").fill_nan(0.0).to_numpy()
        noise = np.random.default_rng(seed + 1000).normal(size=2000) * np.exp(0.25 * wind)
        return found.with_columns(value=pl.lit(0.0, pl.Float32), true_value=pl.Series(noise))

    followed = build(checked(Settings, SETTINGS), of)
    followed.learn(noisy(0.0, 1))
    now = noisy(1.0, 2)
    followed.take(now)
    said = of.losses.unscaled(float(of.losses.of(now).mean()))
    past = of.losses.unscaled(float(of.losses.of(noisy(0.0, 1)).mean()))
    assert abs(expectation(list(followed.close(BEGIN, BEGIN))) - said) < 0.5 * (said - past)


def test_it_is_a_learner() -> None:
    assert isinstance(watch(), Learner) and watch().labelled is False


def test_weights_are_the_ratio_of_densities() -> None:
    rng = np.random.default_rng(0)
    past, present = rng.normal(0, 1, (4000, 1)), rng.normal(0.7, 1, (2000, 1))
    found = weights(past, present)
    true = np.exp(0.7 * past[:, 0] - 0.7**2 / 2)
    assert np.corrcoef(np.log(found), np.log(true))[0, 1] > 0.99 and np.abs(np.log(found / true)).mean() < 0.1
    assert found.mean() == pytest.approx(1, abs=0.05)
    np.testing.assert_allclose(weights(past, past[:2000]), 1, atol=0.1)
    assert weights(np.zeros((500, 1)), np.ones((500, 1))).max() <= 50


def test_codes_tell_missing_rare_and_absent_apart() -> None:
    coder = Coder.of(watched().profile, ["wind", "city", "rain"])
    assert [*coder.columns] == ["wind", "city", "rain"]
    given = pl.DataFrame({"wind": [None, -99.0, 99.0], "city": ["JFK", "Oz", ""], "rain": [True, None, False]})
    codes = coder.codes(pl.DataFrame({"inputs": given.to_struct()}))
    edges = coder.columns["wind"]
    assert codes[:, :3].tolist() == [[0, 2, 3], [2, 1, 0], [2 + len(edges), 0, 2]]
    assert np.abs(coder.design(codes)).max() <= 1.5
    absent = coder.codes(pl.DataFrame({"inputs": given.select("rain").to_struct()}))
    assert absent[:, :2].max() == 0 and absent[0, 2] == 3
