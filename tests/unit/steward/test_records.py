"""Records by the policy's clock: in order, in pieces, with the labels that were known in time."""

import datetime as dt
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from served import HOUR, MODEL, NOW, Served

from tidemill.ledger.columns import LABELS
from tidemill.steward import records as module
from tidemill.steward.policy import Clock
from tidemill.steward.records import Records, Span

BEGIN = NOW - 40 * HOUR
YEARS = timedelta(days=4000)


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path)


def reading(served: Served, clock: Clock = Clock.ARRIVAL) -> Records:
    return Records(served.ledger, MODEL, clock, "moment")


def span(begin: dt.datetime = BEGIN, end: dt.datetime = NOW, since: dt.datetime = BEGIN) -> Span:
    return Span(begin=begin, end=end, since=since)


def test_there_is_nothing_before_the_first_answer(served: Served) -> None:
    mine = reading(served, Clock.EVENT)
    assert mine.first(BEGIN, NOW) is None
    assert mine.horizon(BEGIN, NOW) is None
    assert list(mine.pieces(span())) == []


def test_by_arrival_the_present_is_now(served: Served) -> None:
    served.answer(BEGIN, 10)
    mine = reading(served)
    assert mine.horizon(BEGIN, NOW) == NOW
    assert mine.first(BEGIN, NOW) == BEGIN


def test_by_events_the_present_is_the_latest_moment_of_an_answer_or_a_label(served: Served) -> None:
    past = BEGIN - YEARS
    served.answer(past, 100, arrived=BEGIN, lag=timedelta(days=3))
    mine = reading(served, Clock.EVENT)
    assert mine.first(BEGIN, NOW) == past
    horizon = mine.horizon(BEGIN, NOW)
    assert past + timedelta(days=3) < horizon < past + timedelta(days=3, hours=1)


@pytest.mark.parametrize("years", [-2000, 3])
def test_a_few_records_from_another_time_do_not_move_the_clock_of_events(served: Served, years: int) -> None:
    past = BEGIN - YEARS
    served.answer(past, 100, arrived=BEGIN, lag=timedelta(0))
    stray = past.replace(year=past.year + years)
    served.answer(stray, 2, arrived=BEGIN, lag=timedelta(0))
    mine = reading(served, Clock.EVENT)
    assert mine.first(BEGIN, NOW) == past
    assert past < mine.horizon(BEGIN, NOW) < past + HOUR
    served.answer(stray, module.FEW, arrived=BEGIN)
    assert stray in (
        mine.first(BEGIN, NOW),
        mine.horizon(BEGIN, NOW).replace(minute=0, second=0, microsecond=0) - 2 * HOUR,
    )


def test_records_without_a_moment_do_not_move_the_clock_of_events(served: Served) -> None:
    past = BEGIN - YEARS
    served.answer(past, 100, arrived=BEGIN, lag=timedelta(0))
    none = pl.Series("moment", [None] * 50, dtype=pl.Datetime("us", "UTC"))
    served.answer(past, 50, arrived=BEGIN, lag=timedelta(0), moment=none)
    mine = reading(served, Clock.EVENT)
    assert mine.first(BEGIN, NOW) == past
    assert mine.horizon(BEGIN, NOW) < past + HOUR


def test_before_there_are_enough_records_there_is_no_present(served: Served) -> None:
    served.answer(BEGIN - YEARS, module.FEW - 1, arrived=BEGIN)
    assert reading(served, Clock.EVENT).first(BEGIN, NOW) is None


@pytest.mark.parametrize("wrong", [datetime(9999, 12, 31, tzinfo=UTC), datetime(1900, 1, 1, tzinfo=UTC)])
def test_by_events_wrong_clocks_do_not_move_time(served: Served, wrong: dt.datetime) -> None:
    past = BEGIN - YEARS
    served.answer(past, 10, arrived=BEGIN)
    mine = reading(served, Clock.EVENT)
    before = mine.horizon(BEGIN, NOW), mine.first(BEGIN, NOW)
    served.answer(wrong, 1, arrived=BEGIN, lag=timedelta(0))
    assert (mine.horizon(BEGIN, NOW), mine.first(BEGIN, NOW)) == before


def test_what_is_asked_for_ahead_is_not_lost(served: Served) -> None:
    day = timedelta(days=1)
    served.answer(BEGIN, 3, arrived=BEGIN - 2 * HOUR)
    served.answer(BEGIN + HOUR, 3, arrived=BEGIN - 3 * day)
    served.answer(BEGIN + 90 * day, 3, arrived=BEGIN - 4 * day)
    mine, long_ago = reading(served, Clock.EVENT), BEGIN - 9 * day
    assert mine.arrival(long_ago, BEGIN) == BEGIN - 3 * day
    assert mine.arrival(long_ago, BEGIN + 2 * HOUR) is None
    assert mine.arrival(long_ago, BEGIN + 60 * day) == BEGIN - 4 * day
    assert reading(served).arrival(long_ago, BEGIN) == BEGIN


@pytest.mark.parametrize("beyond", [2**60, -(2**60)])
def test_by_events_moments_beyond_the_calendar_do_not_move_time(served: Served, beyond: int) -> None:
    served.answer(BEGIN, 10)
    served.answer(BEGIN, 1, arrived=BEGIN, moment=pl.Series([beyond]).cast(pl.Datetime("us", "UTC")))
    mine = reading(served, Clock.EVENT)
    assert mine.first(BEGIN, NOW) == BEGIN
    assert mine.horizon(BEGIN, NOW) < BEGIN + 4 * HOUR


def test_a_moment_that_is_no_instant_is_none(served: Served) -> None:
    served.answer(BEGIN, 2, arrived=BEGIN, moment=pl.Series(["today", "1"]))
    (piece,) = reading(served, Clock.EVENT).pieces(span())
    assert piece["moment"].to_list() == [BEGIN, BEGIN]


def test_pieces_come_in_order_whole_and_without_shadows(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 100)
    later = served.answer(BEGIN + HOUR, 120, shadow=("2", 0.1))
    first = served.answer(BEGIN, 250)
    pieces = list(reading(served).pieces(span()))
    assert len(pieces) >= 4
    assert max(piece.height for piece in pieces) <= 100
    assert pl.concat(pieces)["id"].to_list() == [*first["id"], *later["id"]]


def test_a_record_without_a_moment_belongs_to_its_arrival(served: Served) -> None:
    moments = pl.Series("moment", [None, NOW - YEARS], dtype=pl.Datetime("us", "UTC"))
    served.answer(BEGIN, 2, arrived=BEGIN, moment=moments)
    (piece,) = reading(served, Clock.EVENT).pieces(span())
    assert piece["moment"].to_list() == [BEGIN]


def test_the_label_received_last_counts_and_none_that_came_too_late(served: Served) -> None:
    rows = served.answer(BEGIN, 4, labelled=0.0)
    ids = rows["id"].to_list()

    def label(id_: str, value: str, at: dt.datetime) -> None:
        frame = pl.DataFrame({"id": [id_], "label": [value], "at": [at], "event_at": [at], "day": [at.date()]})
        served._write("labels", frame, module.tables.LABELS)

    label(ids[0], "no", BEGIN + HOUR)
    label(ids[0], "yes", BEGIN + 2 * HOUR)  # corrected
    label(ids[1], "yes", BEGIN + 2 * HOUR)
    label(ids[1], "no", BEGIN + 30 * HOUR)  # corrected too late
    label(ids[2], "yes", BEGIN + 30 * HOUR)
    label("ffff-0", "yes", BEGIN + HOUR)  # of no answer
    (piece,) = reading(served).labelled(span(), BEGIN + 25 * HOUR)
    assert dict(zip(piece["id"], piece["true_label"], strict=True)) == {
        ids[0]: "yes",
        ids[1]: "yes",
        ids[2]: None,
        ids[3]: None,
    }


def test_shadows_are_those_of_the_same_requests_once_each(served: Served) -> None:
    rows = served.answer(BEGIN, 50, shadow=("2", 0.1))
    served.answer(BEGIN + HOUR, 50, shadow=("3", 0.1))
    (piece,) = reading(served).labelled(span(end=BEGIN + HOUR), NOW)
    found = reading(served).shadows(piece, "2")
    assert found["id"].to_list() == rows["id"].to_list()
    assert set(found["version"]) == {"2"}
    assert found["true_label"].null_count() == 0
    assert reading(served).shadows(piece, "3").is_empty()
    assert reading(served).shadows(piece.clear(), "2").is_empty()


def label_rows(served: Served, rows: list[Any]) -> None:
    """Labels as a ledger has them: `id`, `event_at`, `client`."""
    frame = pl.DataFrame(
        rows, orient="row", schema={"id": pl.String, "event_at": pl.Datetime("us", "UTC"), "client": pl.String}
    )
    frame = frame.with_columns(label=pl.lit("yes"), at=pl.lit(NOW), day=pl.lit(NOW.date()))
    served._write("labels", frame, LABELS)


def test_labels_of_answers_that_do_not_exist_do_not_move_the_clock_of_events(served: Served) -> None:
    past = BEGIN - YEARS
    served.answer(past, 100, arrived=BEGIN, lag=timedelta(0))
    label_rows(served, [(f"{number:032x}-0", past + timedelta(days=8), None) for number in range(50)])
    assert reading(served, Clock.EVENT).horizon(BEGIN, NOW) < past + HOUR


def test_a_client_with_less_than_half_of_the_answers_does_not_move_the_clock_of_events(served: Served) -> None:
    past, later = BEGIN - YEARS, BEGIN - YEARS + timedelta(days=8)
    served.answer(past, 900, arrived=BEGIN, lag=timedelta(0), client="shop")
    own = served.answer(past, 50, arrived=BEGIN, lag=timedelta(0), client="rival")
    served.answer(later, 50, arrived=BEGIN, lag=timedelta(0), client="rival")
    label_rows(served, [(id, later, "rival") for id in own["id"]])
    mine = reading(served, Clock.EVENT)
    assert mine.horizon(BEGIN, NOW) < past + HOUR
    served.answer(later, 1000, arrived=BEGIN, lag=timedelta(0), client="shop")
    assert later < mine.horizon(BEGIN, NOW) < later + HOUR
