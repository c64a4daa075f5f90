"""A rise with its moments: over periods of few rows and of very many, in any parts, and after periods without any."""

from datetime import UTC, datetime

import numpy as np
import pytest

from reread import reread
from tidemill.steward.evidence.detectors import RiseDetector
from tidemill.steward.evidence.streams import FINE, RiseStream
from tidemill.steward.snapshots import plain

SECOND = 1_000_000


def rise(baseline: float | None = None) -> RiseStream:
    return RiseStream(detector=RiseDetector(alpha=0.05, within=5000, anytime=True, baseline=baseline), interval=0.1)


def stream(number: int, change: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    drawn = np.random.default_rng(seed).random(number)
    chance = np.where(np.arange(number) < change, 0.1, 0.2)
    return (drawn < chance).astype(float), np.arange(number) * SECOND


@pytest.mark.parametrize("baseline", [None, 0.105])
@pytest.mark.parametrize(("number", "change"), [(4000, 2000), (4 * FINE, 3 * FINE + 500)])
def test_a_rise_is_dated_and_sized(baseline: float | None, number: int, change: int) -> None:
    followed = rise(baseline)
    values, moments = stream(number, change)
    followed.update(values, moments)
    look = followed.close()
    assert look.alarm and look.rows == number and look.since is not None
    assert abs(look.since.timestamp() - change) < 250
    since = int(look.since.timestamp())
    assert look.mean_since == pytest.approx(values[since:].mean())
    assert look.before == pytest.approx(values[:since].mean() if baseline is None else baseline)
    assert look.low < look.mean < look.high and look.high - look.low < 0.06


def test_a_period_has_a_mean_and_an_interval_of_its_own() -> None:
    followed, (values, moments) = rise(), stream(6000, 3000)
    looks = []
    for part in (slice(3000), slice(3000, None)):
        followed.update(values[part], moments[part])
        looks.append(followed.close())
    assert [look.mean for look in looks] == pytest.approx([values[:3000].mean(), values[3000:].mean()])
    assert looks[0].high < looks[1].low < looks[1].mean < looks[1].high


def test_parts_and_json_give_the_same_look_to_the_last_digit() -> None:
    values, moments = stream(FINE + 30_000, FINE)
    whole, parts = rise(), rise()
    whole.update(values, moments)
    for first in range(0, len(values), 7_777):
        parts.update(values[first : first + 7_777], moments[first : first + 7_777])
        parts = reread(parts)
    assert whole.close() == parts.close()
    assert plain(whole) == plain(parts)


def test_a_period_without_values_leaves_the_evidence_as_it_is() -> None:
    followed = rise()
    empty = followed.close()
    assert (empty.log_e, empty.rows, empty.since, empty.mean) == (0.0, 0, None, 0.0)
    followed.update(*stream(3000, 1500))
    before, after = followed.close(), followed.close()
    assert after.rows == 0 and after.since == before.since
    assert after.since is not None and after.since > datetime(1970, 1, 1, tzinfo=UTC)
    assert 0 < after.log_e <= before.log_e
