"""Live profiles count what was asked and answered, exactly, whichever way it came and however many replicas counted."""

import asyncio
import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import jsonschema
import msgspec
import numpy as np
import polars as pl
import pytest
from serving_parts import ROW, arguments, call, post, started

from patience import PATIENCE
from tidemill.bundle.registry.registry import Registry
from tidemill.data.profiles.profile import Profile, answers_table, profile_like
from tidemill.data.raw import from_table
from tidemill.ledger.frames import packed
from tidemill.ledger.record import Answered, Form, Role
from tidemill.ledger.settings import LedgerSettings, Masking
from tidemill.serve.hooks.profiling import Profiling, merged
from tidemill.settings import Objective
from watched_rows import INPUTS, answered, table, watched

HOUR = 3_600 * 10**9
AT = 1_370_000_000 * 10**9 // HOUR * HOUR
OBJECTIVES = (Objective.BINARY, Objective.REGRESSION)
WATCHED = {objective: watched(objective) for objective in OBJECTIVES}


def profiling(
    objective: Objective = Objective.BINARY, hours: int = 48, replica: str = "r1", share: float = 1.0, **ledger: Any
) -> Profiling:
    made = Profiling("flights", replica, hours, LedgerSettings(path=None, **ledger), share)
    given = WATCHED[objective].manifest
    identity = dataclasses.replace(given.identity, version="1")
    made.add_version(dataclasses.replace(given, identity=identity), WATCHED[objective].profile)
    return made


def drawn(rows: int, seed: int = 0) -> pl.DataFrame:
    return table(np.random.default_rng(seed), rows)


def events(
    frame: pl.DataFrame,
    objective: Objective = Objective.BINARY,
    *,
    per: int = 1,
    form: Form = Form.ROWS,
    at: int = AT,
    **more: Any,
) -> list[Answered]:
    """Requests of so many rows each, as a replica tells of them."""
    found = []
    for begin in range(0, frame.height, per):
        part = frame[begin : begin + per]
        names = [column.name for column in INPUTS]
        if form is Form.ROWS:
            plain = part.select(names).with_columns(pl.col("scheduled").dt.epoch("us"), pl.col("wind").fill_nan(None))
            inputs = json.dumps({"rows": plain.to_dicts()}).encode()
        else:
            inputs = packed(from_table(part.with_columns(pl.col("scheduled").dt.cast_time_unit("us")), INPUTS))
        entry = Answered(f"{begin:x}", at, "1", Role.CHAMPION, 1.0, 9, form, inputs, None, answered(part, objective))
        found.append(msgspec.structs.replace(entry, **more))
    return found


def fed(observer: Profiling, given: Sequence[Answered]) -> dict[str, Any]:
    for event in given:
        observer.answered(event)
    return json.loads(observer.snapshot())


def wanted(frame: pl.DataFrame, objective: Objective = Objective.BINARY) -> tuple[Profile, Profile]:
    reference = WATCHED[objective].profile
    inputs = {column.name: reference["inputs"]["columns"][column.name] for column in INPUTS}
    answers = answers_table(answered(frame, objective), tuple(WATCHED[objective].manifest.identity.classes))
    return profile_like(frame, {"columns": inputs}), profile_like(answers, reference["answers"])


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("form", [Form.ROWS, Form.COLUMNS])
@pytest.mark.parametrize("per", [1, 64])
def test_rows_are_counted_as_the_reference_is(objective: Objective, form: Form, per: int) -> None:
    frame = drawn(2_500)
    (hour,) = fed(profiling(objective), events(frame, objective, per=per, form=form))["hours"]
    inputs, answers = wanted(frame, objective)
    assert (hour["inputs"], hour["answers"]) == (inputs, answers)
    assert (hour["hour"], hour["version"], hour["unreadable"]) == ("2013-05-31T11:00:00Z", "1", 0)


def test_replicas_add_up_to_one_that_had_answered_everything() -> None:
    frame = drawn(600)
    every = events(frame)
    one = fed(profiling(), every)
    texts = {
        name: json.dumps(fed(profiling(replica=name), every[start::2])).encode() for start, name in enumerate("ba")
    }
    both = json.loads(merged(texts))
    assert both["replicas"] == ["a", "b"]
    assert both["hours"] == one["hours"]


def test_looking_in_between_changes_nothing() -> None:
    observer, every = profiling(), events(drawn(50))
    for event in every:
        observer.answered(event)
        observer.snapshot()
    assert json.loads(observer.snapshot()) == fed(profiling(), every)


def test_only_the_newest_hours_are_kept() -> None:
    observer = profiling(hours=3)
    for hour in range(60):
        fed(observer, events(drawn(5), at=AT + hour * HOUR))
    found = json.loads(observer.snapshot())["hours"]
    assert [one["hour"][:13] for one in found] == ["2013-06-02T20", "2013-06-02T21", "2013-06-02T22"]
    for hour in range(100):  # without anybody looking
        observer.answered(events(drawn(1), at=AT + hour * HOUR)[0])
    assert len(observer._waiting) <= 17


def test_covered_columns_are_counted_without_showing_a_value() -> None:
    frame = drawn(100)
    covers = {"distance": Masking.MASK, "carrier": Masking.HASH}
    (hour,) = fed(profiling(columns=covers), events(frame))["hours"]
    found, plain = hour["inputs"]["columns"], wanted(frame)[0]["columns"]
    assert found["distance"]["counts"] == plain["distance"]["counts"]
    assert found["distance"]["minimum"] is None and found["distance"]["maximum"] is None
    assert found["carrier"] == plain["carrier"] and found["wind"] == plain["wind"]


def test_what_cannot_be_read_is_counted_and_takes_nothing_with_it() -> None:
    frame = drawn(9)
    every = events(frame)
    every[4] = msgspec.structs.replace(every[4], inputs=b'{"rows": [{"distance": []}]}')
    observer = profiling()
    fed(observer, every[:5])
    (hour,) = fed(observer, every[5:])["hours"]
    assert hour["unreadable"] == 1 and hour["inputs"]["rows"] == 8 and hour["answers"]["rows"] == 9
    (hour,) = fed(profiling(), every[4:5])["hours"]
    assert hour["unreadable"] == 1 and hour["inputs"]["rows"] == 0


def test_a_canary_s_rows_count_and_a_shadow_s_and_unknown_versions_do_not() -> None:
    frame = drawn(10)
    (whole,) = events(frame, per=10)
    rows = (1, 4, 7)
    part = msgspec.structs.replace(
        whole, role=Role.CANARY, rows=rows, answers={name: values[list(rows)] for name, values in whole.answers.items()}
    )
    shadow = msgspec.structs.replace(whole, role=Role.SHADOW, form=Form.NONE, inputs=b"")
    (hour,) = fed(profiling(), [part, shadow, msgspec.structs.replace(whole, version="7")])["hours"]
    assert (hour["inputs"], hour["answers"]) == wanted(frame[list(rows)])


def test_more_than_its_share_of_time_is_not_taken_and_what_is_skipped_is_told() -> None:
    observer = profiling(share=0.0)
    given = events(drawn(6_000), per=50)
    (hour,) = fed(observer, given)["hours"]
    assert 2_048 <= hour["inputs"]["rows"] == hour["answers"]["rows"] < 2_048 + 50
    assert hour["inputs"]["rows"] + hour["skipped"] == 6_000
    together = json.loads(merged({"a": observer.snapshot(), "b": observer.snapshot()}))
    assert together["hours"][0]["skipped"] == 2 * hour["skipped"]


def test_a_bundle_without_bins_is_served_and_not_profiled() -> None:
    observer = Profiling("flights", "r1", 48, LedgerSettings(path=None))
    observer.add_version(WATCHED[Objective.BINARY].manifest, {})
    assert fed(observer, events(drawn(3)))["hours"] == []


@pytest.fixture
def registry(small_multiclass: Any, tmp_path: Any) -> str:
    made = Registry(tmp_path / "registry")
    made.promote("small", made.add("small", small_multiclass.folder), by="me", reason="first")
    return made.path


def test_a_replica_tells_its_profile(registry: str) -> None:
    async def story() -> None:
        async with started(arguments(registry)) as replica:
            for _ in range(3):
                await post(replica.application, "/predict", {"rows": [ROW, ROW]})
            found: Any = {"hours": []}
            async with asyncio.timeout(PATIENCE):
                while not found["hours"] or found["hours"][-1]["answers"]["rows"] < 6:
                    got = await call(replica.application, "GET", "/profile")
                    assert got is not None and got.status == 200
                    found = got.json
            hour = found["hours"][-1]
            assert hour["inputs"]["columns"]["open"] == {"kind": "boolean", "missing": 0, "true": 6, "false": 0}
            assert hour["inputs"]["columns"]["at"]["missing"] == 6
            document = json.loads(replica._document())
            schema = {"$ref": "#/components/schemas/Profiles", "components": document["components"]}
            jsonschema.Draft202012Validator(schema).validate(found)

    asyncio.run(story())


def test_what_training_never_saw_is_counted_by_column(registry: str) -> None:
    async def story() -> None:
        async with started(arguments(registry)) as replica:
            rows = [ROW, {**ROW, "city": " Zürich"}, {**ROW, "city": "Nowhere"}, {**ROW, "city": None}]
            await post(replica.application, "/predict", {"rows": rows})
            body = b""
            async with asyncio.timeout(PATIENCE):
                while b"tidemill_categories_total{" not in body:
                    await call(replica.application, "GET", "/profile")  # what waits is counted
                    got = await call(replica.application, "GET", "/metrics")
                    assert got is not None
                    body = got.body
            lines = body.decode().splitlines()
            assert 'tidemill_categories_total{column="city"} 3.0' in lines
            assert 'tidemill_unseen_categories_total{column="city"} 1.0' in lines

    asyncio.run(story())


def test_it_can_be_switched_off(registry: str) -> None:
    async def story() -> None:
        async with started(arguments(registry, profile_hours=0)) as replica:
            got = await call(replica.application, "GET", "/profile")
            assert got is not None and got.status == 404 and "profile_hours=0" in got.observed
            assert replica.profiling is None

    asyncio.run(story())
