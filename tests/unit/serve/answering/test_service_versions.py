"""Versions side by side in one replica: pinned ones, canaries by every protocol."""

import asyncio
import io
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from service_parts import ARROW, Kept, Two, kept, probabilities, request_of, rows_of, two
from serving_parts import ROW, post, standing

from tidemill.ledger.record import Form, Role
from tidemill.serve.answering import canary
from tidemill.serve.answering.active import Active
from tidemill.serve.wire import arrow

__all__ = ["kept", "two"]


def test_a_version_can_be_pinned(two: Two, kept: Kept) -> None:
    async def main() -> None:
        async with standing(two.canary(0.01), kept.ledger) as stand:
            rows = rows_of(4)
            for version, role in ((two.champion, Role.CHAMPION), (two.challenger, Role.CANARY)):
                for number in (version.number, int(version.number)):
                    got = await post(stand.application, "/predict", {"rows": rows, "version": number})
                    assert got.json["version"] == version.number
                    np.testing.assert_allclose(probabilities(got), two.expected(version, rows), atol=1e-6)
                    (entry,) = kept.of(request_of(got))
                    assert (entry.version, entry.role, entry.propensity) == (version.number, role, 1.0)
                infer = f"/v2/models/small/versions/{version.number}/infer"
                body = {"inputs": [{"name": "open", "datatype": "BOOL", "shape": [1], "data": [True]}]}
                assert (await post(stand.application, infer, body)).json["model_version"] == version.number
            got = await post(stand.application, "/predict", {"rows": rows, "version": "9"})
            assert got.status == 404 and got.observed == "'9'; in use: 1, 2"

    asyncio.run(main())


def split(keys: list[str], share: float = 0.5) -> list[bool]:
    chosen: list[bool] = canary.assign(keys, "small", "2", share)[0].tolist()
    return chosen


def test_a_canary_tosses_with_the_registrys_secret(two: Two, kept: Kept) -> None:
    async def main() -> None:
        secret, keys = bytes(range(32)), [f"k{row}" for row in range(40)]
        async with standing(replace(two.canary(0.5), secret=secret), kept.ledger) as stand:
            got = await post(stand.application, "/predict", {"rows": rows_of(40), "keys": keys})
            chosen = canary.assign(keys, "small", "2", 0.5, secret)[0].tolist()
            assert [prediction["version"] == "2" for prediction in got.json["predictions"]] == chosen != split(keys)

    asyncio.run(main())


def merged(two: Two, rows: list[dict[str, Any]], chosen: list[bool]) -> np.ndarray:
    one, other = two.expected(two.champion, rows), two.expected(two.challenger, rows)
    return np.where(np.array(chosen)[:, None], other, one)


def test_a_canarys_rows_are_its_keys_and_each_row_gets_its_own_answer(two: Two, kept: Kept) -> None:
    async def main() -> None:
        async with standing(two.canary(0.3), kept.ledger) as stand:
            rows = rows_of(40)
            chosen = split([f"k{row}" for row in range(40)], 0.3)
            assert 2 < sum(chosen) < 38
            slow = [{**row, "note": ["a list sends all rows the slow way"]} for row in rows]
            for content in ({"rows": rows}, {"rows": rows}, {"rows": slow}):
                got = await post(stand.application, "/predict", content)
                predictions = got.json["predictions"]
                assert [prediction["version"] == "2" for prediction in predictions] == chosen, "sticky"
                np.testing.assert_allclose(probabilities(got), merged(two, rows, chosen), atol=1e-6)
                assert [prediction["id"].rpartition("-")[2] for prediction in predictions] == [*map(str, range(40))]
                found = {entry.role: entry for entry in kept.of(request_of(got))}
                assert found[Role.CANARY].rows == tuple(row for row in range(40) if chosen[row])
                assert found[Role.CHAMPION].rows == tuple(row for row in range(40) if not chosen[row])
                assert (found[Role.CANARY].propensity, found[Role.CHAMPION].propensity) == (0.3, 0.7)
                assert (found[Role.CANARY].version, found[Role.CHAMPION].version) == ("2", "1")
                _, tosses = canary.assign([f"k{row}" for row in range(40)], "small", "2", 0.3)
                for one in found.values():
                    assert one.rows is not None and one.tosses == tuple(tosses[row] for row in one.rows)
            keys = [f"other{row}" for row in range(40)]
            got = await post(stand.application, "/predict", {"rows": rows, "keys": keys})
            assert [prediction["version"] == "2" for prediction in got.json["predictions"]] == split(keys, 0.3)
            single = await post(stand.application, "/predict", {"rows": [rows[chosen.index(False)]]})
            assert single.json["version"] == "1"
            (entry,) = kept.of(request_of(single))
            assert (entry.role, entry.propensity, entry.rows) == (Role.CHAMPION, 0.7, None)
            assert entry.tosses == (tosses[chosen.index(False)],)
            single = await post(stand.application, "/predict", {"rows": [rows[chosen.index(True)]]})
            (entry,) = kept.of(request_of(single))
            assert (single.json["version"], entry.role, entry.propensity) == ("2", Role.CANARY, 0.3)

    asyncio.run(main())


def test_rows_without_a_key_are_left_to_chance(two: Two) -> None:
    async def main() -> None:
        async with standing(two.canary(0.5)) as stand:
            got = await post(stand.application, "/predict", {"rows": [ROW] * 60})
            versions = [prediction["version"] for prediction in got.json["predictions"]]
            ids = [prediction["id"] for prediction in got.json["predictions"]]
            assert set(versions) == {"1", "2"} and [version == "2" for version in versions] == split(ids)

    asyncio.run(main())


def test_a_wrong_row_under_a_canary_is_a_422(two: Two) -> None:
    async def main() -> None:
        async with standing(two.canary(0.5)) as stand:
            got = await post(stand.application, "/predict", {"rows": [*rows_of(4), {**ROW, "at": "yesterday"}]})
            assert got.status == 422 and "row 4, column 'at'" in got.observed

    asyncio.run(main())


def test_a_canary_by_the_open_protocol(two: Two, kept: Kept) -> None:
    async def main() -> None:
        async with standing(two.canary(), kept.ledger) as stand:
            count = 20
            rows = [{"open": True, "size": 10.0 * row} for row in range(count)]
            keys = [f"k{row}" for row in range(count)]
            inputs = [
                {"name": "open", "datatype": "BOOL", "shape": [count], "data": [True] * count},
                {"name": "size", "datatype": "FP64", "shape": [count], "data": [row["size"] for row in rows]},
            ]
            named = {"name": "id", "datatype": "BYTES", "shape": [count], "data": keys}
            got = await post(stand.application, "/v2/models/small/infer", {"inputs": [*inputs, named]})
            content = got.json
            versions = content["parameters"]["versions"].split(",")
            assert [version == "2" for version in versions] == split(keys), "by the key's column"
            found = {output["name"]: output["data"] for output in content["outputs"]}
            expected = merged(two, rows, split(keys))
            np.testing.assert_allclose(np.reshape(found["probabilities"], (count, -1)), expected, atol=1e-6)
            found = {entry.role: entry for entry in kept.of(content["parameters"]["request_id"])}
            assert found[Role.CANARY].propensity == 0.5 and found[Role.CANARY].form is Form.COLUMNS
            key = next(name for name in map(str, range(99)) if split([name])[0])
            got = await post(
                stand.application, "/v2/models/small/infer", {"inputs": inputs, "parameters": {"key": key}}
            )
            assert got.json["model_version"] == "2" and got.json["parameters"]["role"] == "canary"

    asyncio.run(main())


def test_a_canary_by_arrow(two: Two) -> None:
    async def main() -> None:
        async with standing(two.canary()) as stand:
            rows = [{"open": True, "size": 10.0 * row} for row in range(30)]
            keys = [f"k{row}" for row in range(30)]
            stream = io.BytesIO()
            pl.DataFrame(rows).with_columns(id=pl.Series(keys)).write_ipc_stream(stream)
            got = await post(stand.application, "/predict", stream.getvalue(), headers=ARROW)
            assert got.status == 200 and got.headers["content-type"] == arrow.TYPE.decode()
            table = pl.read_ipc_stream(io.BytesIO(got.body))
            assert [version == "2" for version in table["version"]] == split(keys)
            found = table.select(pl.col("^probability_.*$")).to_numpy()
            np.testing.assert_allclose(found, merged(two, rows, split(keys)), atol=1e-6)

    asyncio.run(main())


@pytest.mark.parametrize(("datatype", "data"), [("INT64", [7]), ("FP64", [7.5]), ("BOOL", [True]), ("BYTES", ["a"])])
def test_what_is_no_input_may_have_any_datatype(two: Two, kept: Kept, datatype: str, data: list[Any]) -> None:
    async def main() -> None:
        async with standing(Active(champion=two.champion), kept.ledger) as stand:
            inputs = [
                {"name": "open", "datatype": "BOOL", "shape": [1], "data": [True]},
                {"name": "id", "datatype": datatype, "shape": [1], "data": data},
            ]
            got = await post(stand.application, "/v2/models/small/infer", {"inputs": inputs})
            assert got.status == 200
            (entry,) = kept.of(got.json["parameters"]["request_id"])
            assert msgspec.msgpack.decode(entry.inputs)["id"] == data

    asyncio.run(main())


def test_arrow_pins_a_version_by_a_header(two: Two, kept: Kept) -> None:
    async def main() -> None:
        async with standing(two.canary(), kept.ledger) as stand:
            rows = rows_of(4)
            stream = io.BytesIO()
            pl.DataFrame(rows).write_ipc_stream(stream)
            for version in (two.champion, two.challenger):
                headers = [*ARROW, ("X-Model-Version", version.number)]
                got = await post(stand.application, "/predict", stream.getvalue(), headers=headers)
                found = pl.read_ipc_stream(io.BytesIO(got.body)).select(pl.col("^probability_.*$")).to_numpy()
                np.testing.assert_allclose(found, two.expected(version, rows), atol=1e-6)
                got = await post(stand.application, "/predict", {"rows": rows}, headers=headers[1:])
                assert got.json["version"] == version.number, "JSON may say it there, too"
            headers = [*ARROW, ("X-Model-Version", "9")]
            got = await post(stand.application, "/predict", stream.getvalue(), headers=headers)
            assert got.status == 404 and got.observed == "'9'; in use: 1, 2"

    asyncio.run(main())
