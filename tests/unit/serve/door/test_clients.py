"""Whose labels hold for which answers: by every door, a client labels what a key of its own name has asked."""

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from serving_parts import ROW, arguments, call, post, started

import real_servers
from tidemill.bundle.registry.registry import Registry
from tidemill.ledger import tables
from tidemill.ledger.settings import LedgerSettings
from tidemill.serve.door import key_file
from tidemill.serve.door.inference import servicer
from tidemill.serve.door.key_file import Scope
from tidemill.serve.replica import Replica
from tidemill.serve.wire import arrow
from tidemill.serve.wire.inference import messages

BOTH = (Scope.PREDICT, Scope.FEEDBACK)


@pytest.fixture(scope="module")
def registry(small_multiclass: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    registry = Registry(tmp_path_factory.mktemp("registry"))
    registry.promote("small", registry.add("small", small_multiclass.folder), by="me", reason="first")
    return registry.path


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    made = {"app": BOTH, "shop": BOTH, "office": (Scope.FEEDBACK, Scope.FEEDBACK_ALL)}
    texts = {name: key_file.create(tmp_path / "keys.json", name, scopes)[1] for name, scopes in made.items()}
    texts["app, renewed"] = key_file.create(tmp_path / "keys.json", "app", BOTH)[1]
    return texts


def bearer(key: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {key}")]


@contextlib.asynccontextmanager
async def serving(registry: str, place: Path) -> AsyncIterator[Replica]:
    ledger = {"path": str(place / "ledger"), "ship_seconds": 0.1}
    async with started(arguments(registry, ledger=ledger, keys=str(place / "keys.json"))) as replica:
        yield replica


async def ask(replica: Replica, key: str) -> str:
    got = await post(replica.application, "/predict", {"rows": [ROW]}, headers=bearer(key))
    assert got.status == 200, got.body
    return str(got.json["predictions"][0]["id"])


async def label(replica: Replica, key: str, *ids: str, says: str = "low") -> None:
    content = {"labels": [{"id": id, "label": says} for id in ids]}
    got = await post(replica.application, "/feedback", content, headers=bearer(key))
    assert got.status == 200, got.body


def joined(place: Path) -> pl.DataFrame:
    return tables.joined(LedgerSettings(path=str(place / "ledger")), "small").collect()


def test_nobody_labels_anothers_answers(registry: str, keys: dict[str, str], tmp_path: Path) -> None:
    async def main() -> tuple[str, ...]:
        async with serving(registry, tmp_path) as replica:
            mine, renewed, theirs = [await ask(replica, keys[name]) for name in ("app", "app", "shop")]
            await label(replica, keys["app"], mine, theirs)
            await label(replica, keys["app, renewed"], renewed)
            return mine, renewed, theirs

    mine, renewed, theirs = asyncio.run(main())
    found = joined(tmp_path)
    assert dict(found.select("id", "client").iter_rows()) == {mine: "app", renewed: "app", theirs: "shop"}
    assert dict(found.select("id", "true_label").iter_rows()) == {mine: "low", renewed: "low", theirs: None}
    assert dict(found.select("id", "foreign").iter_rows())[theirs] == 1


def test_a_back_office_labels_everybodys_answers(registry: str, keys: dict[str, str], tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(registry, tmp_path) as replica:
            ids = [await ask(replica, keys[name]) for name in ("app", "shop")]
            await label(replica, keys["office"], *ids)

    asyncio.run(main())
    assert joined(tmp_path)["true_label"].to_list() == ["low", "low"]


def test_every_door_records_who_asked(registry: str, keys: dict[str, str], tmp_path: Path) -> None:
    inputs = [
        {"name": "open", "datatype": "BOOL", "shape": [1], "data": [True]},
        {"name": "city", "datatype": "BYTES", "shape": [1], "data": ["Bern"]},
        {"name": "size", "datatype": "FP64", "shape": [1], "data": [61.5]},
    ]

    async def main() -> None:
        async with serving(registry, tmp_path) as replica:
            await ask(replica, keys["app"])
            stream = io.BytesIO()
            pl.DataFrame([ROW]).write_ipc_stream(stream)
            headers = [*bearer(keys["app"]), ("content-type", arrow.TYPE.decode())]
            got = await call(replica.application, "POST", "/predict", stream.getvalue(), headers=headers)
            assert got is not None and got.status == 200, got
            rest = await post(
                replica.application, "/v2/models/small/infer", {"inputs": inputs}, headers=bearer(keys["app"])
            )
            assert rest.status == 200, rest.body
            await by_grpc(replica, keys["app"])

    asyncio.run(main())
    assert joined(tmp_path)["client"].to_list() == ["app"] * 5


async def by_grpc(replica: Replica, key: str) -> None:
    """One call, and one message of a stream."""
    request = messages.ModelInferRequest(model_name="small")
    for name, datatype, kind, value in (
        ("open", "BOOL", "bool_contents", True),
        ("city", "BYTES", "bytes_contents", b"Bern"),
        ("size", "FP64", "fp64_contents", 61.5),
    ):
        tensor = request.inputs.add(name=name, datatype=datatype, shape=[1])
        getattr(tensor.contents, kind).append(value)
    async with real_servers.by_grpc(replica.backend) as channel:
        types: dict[str, Any] = {"request_serializer": messages.ModelInferRequest.SerializeToString}
        one = channel.unary_unary(
            f"/{servicer.SERVICE}/ModelInfer", **types, response_deserializer=messages.ModelInferResponse.FromString
        )
        await one(request, metadata=bearer(key))
        many = channel.stream_stream(
            f"/{servicer.SERVICE}/ModelStreamInfer",
            **types,
            response_deserializer=messages.ModelStreamInferResponse.FromString,
        )
        async for answer in many(iter([request]), metadata=bearer(key)):
            assert not answer.error_message


def test_ids_cannot_be_guessed(registry: str, keys: dict[str, str], tmp_path: Path) -> None:
    async def main() -> list[str]:
        async with serving(registry, tmp_path) as replica:
            return [await ask(replica, keys["app"]) for _ in range(50)]

    ids = [id.removesuffix("-0") for id in asyncio.run(main())]
    assert {len(id) for id in ids} == {32}
    bits = np.array([[int(bit) for bit in f"{int(id, 16):0128b}"] for id in ids])
    assert (abs(bits.mean(axis=0) - 0.5) < 0.4).all(), "no bit is the same in all of them"


@pytest.mark.parametrize("at", ["1700-01-01", "2261-01-01", "1899-12-31T23:59:59Z"])
def test_a_label_of_another_age_is_refused(registry: str, keys: dict[str, str], tmp_path: Path, at: str) -> None:
    async def main() -> Any:
        async with serving(registry, tmp_path) as replica:
            content = {"labels": [{"id": await ask(replica, keys["app"]), "label": "low", "at": at}]}
            return await post(replica.application, "/feedback", content, headers=bearer(keys["app"]))

    got = asyncio.run(main())
    assert got.status == 422
    assert "after 1900 and no more than a day from now" in json.dumps(got.json)
