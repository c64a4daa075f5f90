"""The watcher with real registries; with real predictors where what is loaded matters, and plain objects where not."""

import asyncio
import dataclasses
import json
import shutil
from pathlib import Path

from watch_parts import WHY, Plain, Real, described, follow, following, local, registry, run

from patience import until_async
from small_bundle import Small
from tidemill.bundle import checksums, manifest
from tidemill.bundle.registry.registry import Alias, Registry
from tidemill.bundle.registry.rollout import Mode
from tidemill.data.raw import from_table
from tidemill.serve.hooks.observer import Refused, Swapped

__all__ = ["described", "local", "registry"]


def test_promotions_rollouts_and_rollbacks_reach_the_replica(registry: Registry) -> None:
    async def test() -> None:
        replica = Plain()
        async with following(registry, replica) as watcher:
            await watcher.settled()
            assert replica.swaps[-1] == ("1", None, Mode.OFF, 0.0, True)
            registry.promote("small", "2", Alias.CHALLENGER, **WHY)
            registry.set_rollout("small", Mode.CANARY, 0.25, **WHY)
            await follow(watcher)
            assert replica.swaps[-1] == ("1", "2", Mode.CANARY, 0.25, True)
            assert replica.active.secret == registry.toss_secret("small") and len(replica.active.secret) == 32
            assert repr(replica.active.secret) not in repr(replica.active)
            registry.promote("small", "2", **WHY)
            await follow(watcher)
            assert replica.swaps[-1] == ("2", None, Mode.OFF, 0.0, True)
            registry.rollback("small", **WHY)
            await follow(watcher)
            assert replica.swaps[-1] == ("1", None, Mode.OFF, 0.0, True)
            assert replica.loads == ["1", "2"], "what is active is not loaded again"
            report = watcher.report()
            assert report.versions == {"champion": "1", "previous": "2"} and report.refused == ()
            assert report.wanted == registry.desired("small").generation == replica.active.generation
            changes = [(event.alias, event.before, event.after) for event in replica.told(Swapped)]
            assert changes == [
                ("champion", None, "1"),
                ("challenger", None, "2"),
                ("champion", "1", "2"),
                ("challenger", "2", None),
                ("champion", "2", "1"),
            ]

    run(test())


def test_polling_notices_by_itself_and_quiet_polls_load_nothing(registry: Registry) -> None:
    async def test() -> None:
        replica, looks, mark = Plain(), [], registry.state_mark
        registry.state_mark = lambda model: looks.append(model) or mark(model)
        async with following(registry, replica, seconds=0.01) as watcher:
            registry.promote("small", "2", **WHY)
            await until_async(lambda: replica.active.champion.number == "2")
            await until_async(lambda: watcher.report().behind < 0.5)
            registry.promote("small", "3", Alias.CANDIDATE, **WHY)
            before = len(looks)
            await until_async(lambda: len(looks) >= before + 5)
            assert replica.loads == ["1", "2"] and len(replica.swaps) <= 4

    run(test())


def test_answers_go_on_while_versions_are_swapped_and_bad_ones_are_offered(
    local: Registry, small_multiclass: Small, tmp_path: Path
) -> None:
    """Requests without a pause, real predictors; corrupt, wrong-schema and wrong-graph bundles come and are refused."""
    bad = {}
    for name, damage in (("corrupt", _cut), ("golden", _other_golden), ("schema", _other_classes)):
        folder = shutil.copytree(small_multiclass.folder, tmp_path / name)
        if name != "corrupt":
            damage(folder)
            checksums.write(folder)
        bad[name] = local.add("small", folder)
    raw = from_table(small_multiclass.table[:20], small_multiclass.schema.inputs)
    answered, wrong = [], []

    async def test() -> None:
        replica = Real(local)

        async def client() -> None:
            while True:
                version = replica.active.champion
                answers = await asyncio.to_thread(version.predictor.predict, raw)
                answered.append(version.number)
                if str(version.predictor.manifest.identity.version) != version.number or len(answers["label"]) != 20:
                    wrong.append(version.number)

        async with following(local, replica) as watcher:
            clients = [asyncio.create_task(client()) for _ in range(4)]
            for number in ("2", "3", bad["golden"], "4", bad["schema"], "5", bad["corrupt"], "1"):
                local.promote("small", number, **WHY)
                if number == bad["corrupt"]:
                    _cut(tmp_path / "registry/small" / number)
                await follow(watcher)
                seen = len(answered)
                await until_async(lambda seen=seen: len(answered) > seen + 8 or any(task.done() for task in clients))
                if number in bad.values():
                    (refusal,) = watcher.report().refused
                    assert refusal.version == number and refusal.alias == "champion" and not refusal.again
                    assert replica.active.generation == watcher.report().wanted, "it was dealt with"
                else:
                    assert replica.active.champion.number == number and watcher.report().refused == ()
            failed = [task for task in clients if task.done()]
            for task in clients:
                task.cancel()
            assert not failed and not wrong
        refused = {event.what: event.error for event in replica.told(Refused)}
        assert set(refused) == {f"small/{number}" for number in bad.values()}
        assert "altered or cut short" in refused[f"small/{bad['corrupt']}"]
        assert "golden rows" in refused[f"small/{bad['golden']}"]
        assert "classes" in refused[f"small/{bad['schema']}"]

    run(test())
    assert set(answered) == {"1", "2", "3", "4", "5"}


def _cut(folder: Path) -> None:
    model = folder / "model.onnx"
    model.write_bytes(model.read_bytes()[:-100])


def _other_golden(folder: Path) -> None:
    content = json.loads((folder / "golden.json").read_text())
    content["answers"]["probabilities"][0] = [0.2, 0.2, 0.6]
    (folder / "golden.json").write_text(json.dumps(content))


def _other_classes(folder: Path) -> None:
    described = manifest.read(folder)
    classes = ["other", *described.identity.classes[1:]]
    manifest.write(
        dataclasses.replace(described, identity=dataclasses.replace(described.identity, classes=classes)), folder
    )


def test_a_bundle_that_was_carried_to_another_number_is_refused(local: Registry, tmp_path: Path) -> None:
    async def test() -> None:
        shutil.copytree(tmp_path / "registry/small/1", tmp_path / "registry/small/6")
        replica = Real(local)
        async with following(local, replica) as watcher:
            local.promote("small", "6", **WHY)
            await follow(watcher)
            (refusal,) = watcher.report().refused
            assert (
                "lies under the model and version" in refusal.error
                and "small/1 in the place of small/6" in refusal.error
            )
            assert replica.active.champion.number == "1"

    run(test())
