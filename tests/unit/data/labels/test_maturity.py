"""The age from which nearly all labels have come: from generated delays whose law is known."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from tidemill.data.labels import delays, maturity
from tidemill.data.labels.maturity import Maturity
from tidemill.errors import QualityError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def records(ages: np.ndarray, waits: np.ndarray, classes: np.ndarray | list[str]) -> pl.DataFrame:
    """Ages and delays in days; a label that is still to come is known later than now, as in a table of the past."""
    moments = pl.Series([NOW - float(age) * DAY for age in ages], dtype=pl.Datetime("us", "UTC"))
    known = moments + pl.Series([float(wait) * DAY for wait in waits], dtype=pl.Duration("us"))
    return pl.DataFrame({"moment": moments, "known": known, "label": list(classes)})


def measured(table: pl.DataFrame, share: float = 0.95) -> Maturity:
    return maturity.measure(table, "label", NOW, share, remedy="wait")


def in_days(age: timedelta) -> float:
    return age / DAY


def bookings(seed: int, number: int = 20_000, span: float = 600.0) -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
    """A third is cancelled after 20 days on average, a stay is known after some 100 to 200."""
    random = np.random.default_rng(seed)
    ages = random.uniform(0, span, number)
    cancelled = random.random(number) < 1 / 3
    waits = np.where(cancelled, random.exponential(20, number), random.uniform(100, 200, number))
    return records(ages, waits, np.where(cancelled, "cancelled", "stayed")), ages, cancelled


def test_the_age_is_that_of_the_slowest_class_though_half_of_the_labels_are_censored() -> None:
    table, ages, cancelled = bookings(seed=0, span=300)
    found = measured(table)
    assert in_days(dict(found.by_class)["cancelled"]) == pytest.approx(-20 * np.log(0.05), rel=0.1)
    assert in_days(dict(found.by_class)["stayed"]) == pytest.approx(195, rel=0.02)
    assert found.age == dict(found.by_class)["stayed"]
    early = (table["known"] < NOW).to_numpy()
    young, old = ages < 100, ages > in_days(found.age)
    assert cancelled[early & young].mean() == 1.0, "this is what was learnt from"
    assert abs(cancelled[early & old].mean() - 1 / 3) < 0.02
    assert found.young.classes[0][0] == "cancelled" and found.young.records == pytest.approx((~old).sum(), rel=0.01)
    assert (found.records, found.labelled) == pytest.approx((old.sum(), (early & old).sum()), rel=0.01), "to a step"


@pytest.mark.parametrize("share", [0.9, 0.99])
def test_the_share_that_was_asked_for_has_come(share: float) -> None:
    waits = np.random.default_rng(1).exponential(30, 30_000)
    ages = np.random.default_rng(2).uniform(0, 400, 30_000)
    found = measured(records(ages, waits, ["a", "b"] * 15_000), share)
    assert 1 - np.exp(-in_days(found.age) / 30) == pytest.approx(share, abs=0.3 * (1 - share))
    assert found.share == share


def test_labels_that_never_come_are_not_waited_for() -> None:
    table, _, _ = bookings(seed=3)
    lost = np.random.default_rng(4).random(table.height) < 0.4
    unlabelled = table.with_columns(known=pl.when(pl.Series(lost)).then(None).otherwise("known"))
    assert measured(unlabelled).age == pytest.approx(measured(table).age, rel=0.03)


def test_labels_that_still_come_at_the_highest_age_are_refused() -> None:
    random = np.random.default_rng(5)
    ages, quick = random.uniform(0, 300, 5_000), random.random(5_000) < 0.5
    table = records(ages, np.where(quick, 5, random.uniform(100, 500, 5_000)), np.where(quick, "quick", "slow"))
    with pytest.raises(QualityError, match=r"labels of 'slow' still come at the age of 29\d days.*Remedy: wait"):
        measured(table)
    after = records(ages, np.where(quick, 5.0, 400.0), np.where(quick, "quick", "slow"))
    with pytest.raises(QualityError, match=r"all labels that came are 'quick', and .* of records have none"):
        measured(after)
    with pytest.raises(QualityError, match="none of 5,000 records has a label"):
        measured(records(ages, np.full(5_000, 400.0), np.where(quick, "quick", "slow")))


def test_a_number_is_looked_at_by_its_size() -> None:
    """The time a repair takes is known when it is over."""
    random = np.random.default_rng(6)
    waits = random.gamma(2, 10, 8_000)
    found = measured(records(random.uniform(0, 400, 8_000), waits, waits))
    slowest = max(found.by_class, key=lambda one: one[1])
    assert slowest[0].startswith(">") and found.age == slowest[1] > timedelta(days=np.quantile(waits, 0.95))
    none = pl.DataFrame({"x": [None, 1.0, 2.0, 9.0]}).select(delays.part_of("x", [1.0, 4.0])).to_series()
    assert none.to_list() == [None, "≤ 1", "1 to 4", "> 4"]


def test_parts_of_a_table_add_up() -> None:
    table, _, _ = bookings(seed=7, number=3_000)
    ready = table.select(
        age=pl.lit(NOW) - pl.col("moment"),
        delay=pl.when(pl.col("known") < NOW).then(pl.col("known") - pl.col("moment")),
        label="label",
    )
    whole = delays.count(ready, DAY)
    joined = delays.none(DAY) + delays.count(ready[:1000], DAY) + delays.count(ready[1000:], DAY)
    assert joined.came.equals(whole.came) and joined.ages.equals(whole.ages) and joined.records == 3_000


def test_rare_classes_are_looked_at_together() -> None:
    table, _, _ = bookings(seed=8, number=4_000)
    names = table["label"].to_list()
    names[:30] = [f"rare {number}" for number in range(30)]
    found = measured(table.with_columns(label=pl.Series(names)))
    assert [name for name, _ in found.by_class] == ["(rare classes)", "cancelled", "stayed"]


def test_it_says_what_is_left_out_and_why() -> None:
    said = measured(bookings(seed=9)[0]).sentences()
    assert "95% of the labels of every class" in said[0] and "'stayed' after 19" in said[0]
    assert "younger records" in said[1] and "'cancelled'" in said[1] and "of older ones" in said[1]
