"""The page: rendered from generated tables, with everything there that a reader looks for."""

import json
import math
import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from tidemill.replay.results import difference, page
from tidemill.replay.results.alarms import Detection
from tidemill.replay.results.difference import Difference
from tidemill.replay.results.live_quality import Figure, LiveQuality
from tidemill.replay.results.outcome import Outcome, Tenure
from tidemill.replay.table import faults
from tidemill.steward import book

HOSTILE = '</script><script>alert("x")</script><b>&amp;'
BEGIN = datetime(2013, 4, 1, tzinfo=UTC)
UTC_US = pl.Datetime("us", "UTC")


def example(days: int = 275, a_day: int = 40) -> Outcome:
    """A year in which a challenger is promoted after two months; figures are from a seed."""
    random = np.random.default_rng(0)
    moments = [BEGIN + timedelta(days=day, minutes=30 * n) for day in range(days) for n in range(a_day)]
    series = pl.Series(moments, dtype=UTC_US)
    frozen = random.gamma(2, 0.27, len(moments)) + np.repeat(random.normal(0, 0.08, days), a_day)
    better = np.repeat(np.arange(days) > 70, a_day) * (0.012 + np.repeat(random.normal(0, 0.02, days), a_day))
    ours = frozen - better
    compared = difference.between(ours, frozen, difference.days_of(series))
    assert compared is not None
    promoted = BEGIN + timedelta(days=71, hours=5)
    made = [faults.parse("missing:visib@2013-08-01"), faults.parse("renamed:carrier=UA/U9@2013-11-01")]
    return Outcome(
        model="flights",
        records=len(moments) + 5,
        served=len(moments),
        failures=Counter({f"503: {HOSTILE}": 3, "no answer: TimeoutError": 2}),
        unlabelled=Counter(),
        unreadable=0,
        unrecorded=0,
        twice=0,
        labelled=len(moments),
        gap=3e-7,
        days=[
            {"day": (BEGIN + timedelta(days=day)).date(), "records": a_day, "failed": 5 * (day == 3), "seconds": 0.4}
            for day in range(days)
        ]
        + [{"day": (BEGIN + timedelta(days=days)).date(), "records": 0, "failed": 0, "seconds": 0.1}],  # only labels
        waited=12.0,
        loss="log_loss",
        margin=0.01,
        promises=[promise(0.5), promise(0.5, "version 1"), promise(0.55, "version 1, had it stayed")],
        learnt=["Learnt from are records older than 9 days.", "Left out: 7 younger records."],
        shifted=[f"{HOSTILE!r} was 9.0 % of the live records, and 20.0 % of those that were learnt from."],
        champion=compared,
        months=difference.by_month(ours, frozen, series),
        course=difference.course(ours, frozen, series),
        reigns=[
            Tenure(version="1", action="promote", reason="The first.", since=BEGIN, until=promoted),
            Tenure(version="2", action="promote", reason="Better.", since=promoted, until=None, against=compared),
        ],
        faults=[
            Detection(
                fault=made[0], check="missing", moment=made[0].begin + timedelta(days=1), says="visib: 100 % missing"
            ),
            Detection(fault=made[1], check=None, moment=None, says=None),
        ],
        decisions=decisions(),
        readings=readings(days),
    )


def promise(loss: float, who: str = "all answers") -> LiveQuality:
    """Of 0.5, with an AUROC of 0.8; a constant has 0.6."""
    less = Difference(
        rows=9, days=9, ours=loss, theirs=0.6, difference=loss - 0.6, lower=loss - 0.61, upper=loss - 0.59
    )
    return LiveQuality(
        who=who,
        rows=11_000,
        promised=Figure(value=0.5, lower=0.48, upper=0.52),
        live=Figure(value=loss, lower=loss - 0.01, upper=loss + 0.01),
        constant=0.6,
        less=less,
        score="auroc",
        promised_score=Figure(value=0.8, lower=0.79, upper=0.81),
        live_score=0.75,
    )


def decisions() -> pl.DataFrame:
    evidence = json.dumps({"records": 9_120, "difference": -0.0123, "carried": {"secret": "state"}, "note": HOSTILE})
    rows = [
        (1, "retrain", 40, None, "The log loss rose by 0.04.", False, None),
        (2, "shadow", 40, "2", "The gate passed it.", False, None),
        (3, "canary", 60, "2", f"It is shown to be better so far. {HOSTILE}", False, evidence),
        (4, "promote", 71, "2", "It is shown to be better.", False, evidence),
        (5, "hold", 80, "2", "But budget is spent.", True, ""),
    ]
    columns = [{"number": n, "kind": k, "version": v, "reason": r, "proposed": p, "evidence": e,
                "moment": BEGIN + timedelta(days=day)} for n, k, day, v, r, p, e in rows]  # fmt: skip
    return pl.DataFrame(columns, schema=book._DECISIONS)


def readings(days: int) -> pl.DataFrame:
    random = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []

    def add(day: int, check: str, subject: str, severity: str, log_e: float, threshold: float) -> None:
        rows.append(
            {
                "moment": BEGIN + timedelta(days=day + 1),
                "check": check,
                "subject": subject,
                "severity": severity,
                "version": "1",
                "says": f"{check} of {subject}",
                "log_e": log_e,
                "log_threshold": threshold,
                "effect": 0.1,
                "unit": "share",
                "alarm": log_e >= threshold,
            }
        )

    columns = ("temp", "dewp", "humid", "visib", "wind_speed", "carrier", "dest", HOSTILE)
    walks = {name: np.cumsum(random.normal(0.02, 0.5, days)) for name in columns}
    for day in range(days):
        for name in columns:
            add(day, "drift", name, "advice", float(walks[name][day]), 6.0)
        add(day, "missing", "visib", "advice", 40.0 if day >= 122 else -1.0, 6.0)
        for place in ("", "origin=JFK", "origin=LGA"):
            add(day, "performance", place, "harm", float(min(day, 80) * 0.09 - 1 + len(place) * 0.05), 3.0)
        if 40 <= day <= 71:
            stage = "shadow" if day < 60 else "canary 0.1"
            add(day, "trial better", f"2 against 1, {stage}", "news", (day - 40) * 0.11, -math.log(0.05))
            add(day, "trial worse", f"2 against 1, {stage}", "news", -(day - 40) * 0.02, -math.log(0.05))
    return pl.DataFrame(rows, schema=book._READINGS)


def text_of(html: str) -> str:
    """What a reader sees, roughly: no scripts, no tags."""
    body = re.sub(r"<script.*?</script>|<style.*?</style>", "", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


@pytest.fixture(scope="module")
def html() -> str:
    return page.render(example())


def test_every_part_is_there(html: str) -> None:
    titles = re.findall(r'<h2 id="[^"]*">([^<]+)</h2>', html)
    assert titles == [
        "What was promised", "Champion against the first version", "Champions", "Decisions", "Evidence", "Alarms",
        "Injected faults", "Traffic", "Totals",
    ]  # fmt: skip
    figures = set(re.findall(r'data-figure="figure-(\w+)"', html))
    assert figures == {"course", "months", "better", "worse", "harm", "alarms", "traffic"}
    for name in figures:
        (content,) = re.findall(rf'<script type="application/json" id="figure-{name}">(.*?)</script>', html)
        assert json.loads(content)["data"], name


def test_the_figures_of_the_year(html: str) -> None:
    text = text_of(html)
    assert "11,005 records from 1 April 2013 to 31 December 2013" in text
    assert "The champion answered better than the first version would have." in text
    assert "5 records got no prediction." in text
    assert 'class="verdict refused"' in html, "failures are not passed over"
    assert "503: &lt;/script&gt;" in html and "no answer: TimeoutError" in text
    assert re.search(r"all 11,000 0\.\d+ 0\.\d+ −0\.\d+ −0\.\d+ to −0\.\d+", text)
    assert "missing:visib@2013-08-01 missing 1.0 visib: 100 % missing" in text
    assert "renamed:carrier=UA/U9@2013-11-01 not named" in text
    assert "4 2013-06-11 00:00 promote 2 It is shown to be better." in text
    assert "5 2013-06-20 00:00 hold (proposed)" in text
    assert "promotions 1" in text and "times held back 0" in text, "what waits for a person was not done"
    assert "9120" in text and "secret" not in text


def test_whether_answers_were_worth_what_was_promised_comes_first(html: str) -> None:
    kept = text_of(html)
    said = "Live answers were no worse than promised: Log loss 0.500 (0.490 to 0.510), promised 0.500 (0.480 to 0.520)"
    assert said in kept and kept.index(said) < kept.index("The champion answered better")
    assert "9.0 % of the live records" not in kept, "no reasons are needed"
    assert "version 1, had it stayed 11,000 0.500 (0.480 to 0.520) 0.55" in kept and "Left out: 7 younger" in kept
    worse = replace(example(days=40), promises=[promise(0.7), promise(0.7, "version 1"), promise(0.7, "no")])
    html = page.render(worse)
    text, box = text_of(html), html.index('class="verdict refused"')
    first = "Live answers were worse than a constant answer for certain"
    assert html.index('class="verdict') == box and text.index(first) < text.index("No difference for certain")
    assert "Worse than promised, version 1: Log loss 0.700 (0.690 to 0.710) live" in text
    assert "AUROC 0.75 instead of 0.8" in text and "9.0 % of the live records" in text
    assert "Worse than promised, no" not in text, "what would have been is no promise that was broken"
    assert re.search(r'<span class="bad">0\.700 \(0\.690 to 0\.710\)</span>', html)


def test_nothing_in_the_tables_can_become_markup(html: str) -> None:
    assert HOSTILE not in html
    assert html.count("alert(") == html.count("&lt;script&gt;alert(") + html.count("\\u003cscript>alert(")
    assert "default-src 'none'" in html


def test_marks_show_when_champions_changed_and_faults_began(html: str) -> None:
    (content,) = re.findall(r'<script type="application/json" id="figure-course">(.*?)</script>', html)
    said = [note["text"] for note in json.loads(content)["layout"]["annotations"]]
    assert said == ["promote 2", "missing:visib", "renamed:carrier=UA/U9"]


def test_a_year_without_a_steward_has_no_empty_figures() -> None:
    found = example(days=40)
    quiet = replace(
        found,
        decisions=found.decisions.clear(),
        readings=found.readings.clear(),
        faults=[],
        failures=Counter(),
        reigns=found.reigns[:1],
        champion=Difference(rows=9, days=1, ours=0.5, theirs=0.5, difference=0.0, lower=-math.inf, upper=math.inf),
    )
    html = page.render(quiet)
    assert set(re.findall(r'data-figure="figure-(\w+)"', html)) == {"course", "months", "traffic"}
    text = text_of(html)
    assert "The first version stayed champion throughout." in text and 'class="verdict"' in html
    assert "None: no steward has decided anything." in text and "No check raised an alarm." in text
    assert "Injected faults" not in text


def test_a_champion_that_did_worse_and_a_harmful_promotion_are_said_plainly() -> None:
    found = example(days=40)
    one = found.champion
    worse = replace(one, difference=0.02, lower=0.01, upper=0.03)
    reigns = [found.reigns[0], replace(found.reigns[1], harmful=True)]
    text = text_of(page.render(replace(found, champion=worse, reigns=reigns)))
    assert "The champion answered worse than the first version would have." in text
    assert "Promoted and then shown harmful beyond the margin: 2." in text
    assert found.months[0][0] == date(2013, 4, 1)
