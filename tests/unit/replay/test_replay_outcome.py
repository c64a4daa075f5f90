"""What a replay came to: served and recorded by a real replica, a harmful version promoted on the third day."""

import asyncio
import json
import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import polars as pl
import pytest
from replay_parts import BEGIN, records, registry_of, served, timeline_of, worse

from patience import until_async
from tidemill.bundle.predictor import Predictor
from tidemill.data.labels.maturity import Maturity
from tidemill.data.raw import from_table
from tidemill.errors import ReplayError
from tidemill.ledger.settings import LedgerSettings
from tidemill.replay.live import traffic
from tidemill.replay.live.connections import Connections
from tidemill.replay.live.traffic import Sent, TrafficSettings
from tidemill.replay.results import outcome
from tidemill.replay.results.live_quality import Constant
from tidemill.replay.results.outcome import Outcome, Replayed
from tidemill.replay.table import faults
from tidemill.serve.replica import Replica
from tidemill.steward import book

pytestmark = pytest.mark.slow  # a whole ledger is shipped, by a process of its own
DAYS = 5


@dataclass(frozen=True)
class Lived:
    played: Replayed
    found: Outcome


@pytest.fixture(scope="module")
def lived(small_multiclass: Any, tmp_path_factory: pytest.TempPathFactory) -> Lived:
    place = tmp_path_factory.mktemp("lived")
    registry = registry_of(small_multiclass.folder, place)
    registry.add("small", worse(place / "bundle", place / "worse"))
    registry.add("small", place / "bundle")
    timeline = timeline_of(records(24 * DAYS, every=4))
    fault = faults.parse("missing:city@2013-04-02")
    played = Replayed(
        model="small",
        registry=registry,
        ledger=LedgerSettings(path=str(place / "ledger")),
        first="1",
        timeline=timeline,
        rows=faults.apply(timeline.rows, timeline.moments, [fault]),
        sent=Sent(ids=[None] * len(timeline)),
        faults=[fault],
        constant=Constant.of(timeline.target, timeline.labels),
        maturity=Maturity(age=timedelta(hours=3), share=0.95),
        period=timedelta(hours=1),
    )

    replicas: list[Replica] = []

    async def pause(latest: datetime) -> None:
        changes = {3: lambda: registry.promote("small", "2", by="s", reason="better"), 4: _rollback, 5: _third}
        if latest.day in changes:
            changes[latest.day]()
            champion = str(registry.desired("small").champion)
            await until_async(lambda: replicas[0].service.active.champion.number == champion, f"version {champion}")

    def _rollback() -> None:
        registry.rollback("small", by="s", reason="harm")

    def _third() -> None:
        registry.promote("small", "3", by="s", reason="as good")

    async def main() -> None:
        async with served(registry, place / "ledger") as (port, replica), Connections("127.0.0.1", port, 4) as server:
            replicas.append(replica)
            await traffic.send(timeline, played.rows, server, TrafficSettings(connections=4), pause, played.sent)

    asyncio.run(main())
    alarmed = {
        "moment": datetime(2013, 4, 3, tzinfo=UTC),
        "check": "missing",
        "subject": "city",
        "severity": "advice",
        "says": "city is missing",
        "alarm": True,
    }
    silent = {**alarmed, "moment": BEGIN + timedelta(days=DAYS, hours=12), "check": "silence", "subject": ""}
    readings = pl.DataFrame([alarmed, silent], schema={name: book._READINGS[name] for name in alarmed})
    absent = [pl.lit(None, kind).alias(name) for name, kind in book._READINGS.items() if name not in alarmed]
    deltalake.write_deltalake(played.ledger.table("small", "readings"), readings.with_columns(absent))
    kinds = [("retrain", False), ("promote", True), ("promote", False), ("hold", False)]
    decisions = pl.DataFrame(
        [{"number": n, "kind": kind, "proposed": proposed} for n, (kind, proposed) in enumerate(kinds)]
    ).with_columns(
        pl.lit(BEGIN).cast(pl.Datetime("us", "UTC")).alias("moment"),
        *(pl.lit("").alias(name) for name in ("version", "reason", "evidence")),
    )
    deltalake.write_deltalake(played.ledger.table("small", "decisions"), decisions)
    return Lived(played, outcome.weigh(played, margin=0.01))


def losses(played: Replayed, version: str) -> np.ndarray:
    predictor = Predictor(Path(played.registry.path, "small", version))
    answers = predictor.predict(from_table(played.rows, predictor.columns))["probabilities"]
    return np.array([-math.log(row[code]) for row, code in zip(answers, played.timeline.labels, strict=True)])


def test_the_champion_against_the_first_version(lived: Lived) -> None:
    found, first, second = lived.found, losses(lived.played, "1"), losses(lived.played, "2")
    assert (found.records, found.served, found.failed, found.labelled) == (480, 480, 0, 480)
    assert (found.unrecorded, found.twice, found.unreadable, found.loss) == (0, 0, 0, "log_loss")
    # the third day's first hour was still the first version's, the fourth's first hour still the second's
    answered = np.where((np.arange(480) >= 2 * 96 + 4) & (np.arange(480) < 3 * 96 + 4), second, first)
    assert found.champion.ours == pytest.approx(answered.mean(), abs=1e-5)
    assert found.champion.theirs == pytest.approx(first.mean(), abs=1e-5)
    assert found.champion.difference == pytest.approx((answered - first).mean(), abs=1e-5)
    assert found.champion.days == DAYS and found.gap < 1e-5
    assert [(day["records"], day["failed"]) for day in found.days[:DAYS]] == [(96, 0)] * DAYS
    ((month, same),) = found.months
    assert month.isoformat() == "2013-04-01" and same == found.champion
    assert found.course.total[1] == 0.0, "rounding is no difference"
    assert found.course.total[-1] == pytest.approx((answered - first).sum(), abs=1e-3)


def test_each_champion_against_the_one_before_it(lived: Lived) -> None:
    first, second = losses(lived.played, "1"), losses(lived.played, "2")
    one, two, back, three = lived.found.reigns
    assert [(reign.version, reign.action) for reign in lived.found.reigns] == [
        ("1", "promote"), ("2", "promote"), ("1", "rollback"), ("3", "promote"),
    ]  # fmt: skip
    assert one.since == BEGIN and one.against is None and not one.harmful
    assert two.since == one.until == BEGIN + timedelta(days=2, hours=1)
    assert back.since == two.until == BEGIN + timedelta(days=3, hours=1)
    assert two.against is not None and two.against.rows == 96
    rows = slice(2 * 96 + 4, 3 * 96 + 4)
    assert two.against.difference == pytest.approx((second - first)[rows].mean(), abs=1e-5)
    assert two.against.difference > 0.5 and two.harmful
    assert back.against is not None and back.against.difference < -0.5 and not back.harmful
    assert three.against is not None and three.against.difference == 0.0 and not three.harmful
    assert three.until is None
    lenient = outcome.weigh(lived.played, margin=1e6)
    assert not any(reign.harmful for reign in lenient.reigns), "a margin is a share of the loss of the one before"


def test_totals_faults_and_json(lived: Lived) -> None:
    assert lived.found.kinds == {"retrain": 1, "promote": 1, "hold": 1}, "a proposal is no promotion"
    assert lived.found.readings["check"].to_list() == ["missing"], "after the last record it is silent, rightly"
    (named,) = lived.found.faults
    assert (named.check, named.delay) == ("missing", timedelta(days=1))
    content = json.loads(json.dumps(outcome.plain(lived.found)))
    assert content["faults"] == [
        {"fault": "missing:city@2013-04-02", "check": "missing", "delay_days": 1.0, "says": "city is missing"}
    ]
    assert content["reigns"][0]["since"] == "2013-04-01T00:00:00+00:00"
    assert content["decided"]["promote"] == 1 and content["failed"] == 0
    assert content["months"][0][1]["rows"] == 480


def test_what_failed_and_what_the_ledger_lacks(lived: Lived) -> None:
    ids = [None if number < 3 else "abc-0" if number == 3 else one for number, one in enumerate(lived.played.sent.ids)]
    found = outcome.weigh(replace(lived.played, sent=Sent(ids=ids)), margin=0.01)
    assert (found.served, found.unrecorded, found.champion.rows) == (477, 1, 476)
    with pytest.raises(ReplayError, match="none of 480"):
        outcome.weigh(replace(lived.played, sent=Sent(ids=["abc-0"] * 480)), margin=0.01)


def test_promises_are_of_those_who_answered_and_of_the_first_version(lived: Lived) -> None:
    found = lived.found
    whole, *versions, first = found.promises
    assert whole.rows == first.rows == found.champion.rows and sum(one.rows for one in versions) == whole.rows
    assert whole.live.value == pytest.approx(found.champion.ours)
    assert first.live.value == pytest.approx(found.champion.theirs) and first.who == "version 1, had it stayed"
    assert [one.who for one in versions] == ["version 1", "version 2", "version 3"]
    assert versions[1].trivial, "the second thinks one class much likelier than it is"
    assert json.loads(json.dumps(outcome.plain(found)))["promises"][2]["trivial"] is True
