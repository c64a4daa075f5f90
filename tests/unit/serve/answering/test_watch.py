"""The watcher with real registries; with real predictors where what is loaded matters, and plain objects where not."""

import asyncio
import contextlib
import dataclasses
import gc
import json
import shutil
import threading
import uuid
import weakref

import pytest

from patience import PATIENCE, until_async
from tidemill.bundle import checksums, manifest
from tidemill.bundle.predictor import Predictor
from tidemill.bundle.registry.registry import Alias, Registry
from tidemill.bundle.registry.rollout import Mode
from tidemill.data.raw import from_table
from tidemill.errors import BundleError, RegistryError, SchemaError
from tidemill.serve.answering import fitting, watch
from tidemill.serve.answering.watch import Watcher
from tidemill.serve.hooks.observer import Refused, Swapped
from tidemill.settings import Kind, Objective

WHY = {"by": "ann", "reason": "test"}


class Loaded:
    """What a version is to these tests: its number, and a predictor where there is one."""

    def __init__(self, number, predictor=None):
        self.number = number
        self.predictor = predictor


class Plain:
    """A replica whose versions load at once, unless a test shuts their gate or names an error."""

    def __init__(self):
        self.held = None
        self.swaps = []
        self.events = []
        self.loads = []
        self.gates = {}
        self.errors = {}
        self.unfit = set()

    def load(self, version):
        self.loads.append(version)
        if version in self.gates:
            assert self.gates[version].wait(PATIENCE)
        if version in self.errors:
            raise self.errors[version]
        return Loaded(version)

    def accepts(self, new, held):
        if (new.number, held.number) in self.unfit:
            raise BundleError("fits", observed=f"{new.number} beside {held.number}", remedy="none")

    def swap(self, held):
        self.held = held
        challenger = held.challenger.number if held.challenger else None
        self.swaps.append((held.champion.number, challenger, held.mode, held.share, held.serving))

    def tell(self, event):
        self.events.append(event)

    def told(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


class Real(Plain):
    """A replica with predictors, as `tidemill serve` makes them."""

    def __init__(self, registry):
        super().__init__()
        self.registry = registry

    def load(self, version):
        self.loads.append(version)
        with self.registry.fetched("small", version, verify=False) as folder:
            predictor = Predictor(folder, threads=1)
        fitting.named(predictor.manifest, "small", version)
        return Loaded(version, predictor)

    def accepts(self, new, held):
        fitting.check(new.predictor.manifest, held.predictor.manifest)


@pytest.fixture(params=["local", "memory"])
def registry(request, tmp_path, small_multiclass):
    """Five versions of one bundle; the first is champion."""
    path = tmp_path / "registry" if request.param == "local" else f"memory://{uuid.uuid4().hex}"
    registry = Registry(path)
    for _ in range(5):
        registry.add("small", small_multiclass.folder)
    registry.promote("small", "1", **WHY)
    return registry


@pytest.fixture
def local(tmp_path, small_multiclass):
    registry = Registry(tmp_path / "registry")
    for _ in range(5):
        registry.add("small", small_multiclass.folder)
    registry.promote("small", "1", **WHY)
    return registry


@contextlib.asynccontextmanager
async def following(registry, replica, **options):
    """A watcher that looks when it is told to, unless `seconds` says otherwise."""
    watcher = Watcher(registry, "small", replica, **{"seconds": 3600, **options})
    await watcher.start()
    try:
        yield watcher
    finally:
        await watcher.stop()


async def follow(watcher):
    await watcher.look()
    await asyncio.wait_for(watcher.settled(), PATIENCE)


def run(test):
    asyncio.run(test)


def test_promotions_rollouts_and_rollbacks_reach_the_replica(registry):
    async def test():
        replica = Plain()
        async with following(registry, replica) as watcher:
            await watcher.settled()
            assert replica.swaps[-1] == ("1", None, Mode.OFF, 0.0, True)
            registry.promote("small", "2", Alias.CHALLENGER, **WHY)
            registry.set_rollout("small", Mode.CANARY, 0.25, **WHY)
            await follow(watcher)
            assert replica.swaps[-1] == ("1", "2", Mode.CANARY, 0.25, True)
            assert replica.held.secret == registry.toss_secret("small") and len(replica.held.secret) == 32
            assert repr(replica.held.secret) not in repr(replica.held)
            registry.promote("small", "2", **WHY)
            await follow(watcher)
            assert replica.swaps[-1] == ("2", None, Mode.OFF, 0.0, True)
            registry.rollback("small", **WHY)
            await follow(watcher)
            assert replica.swaps[-1] == ("1", None, Mode.OFF, 0.0, True)
            assert replica.loads == ["1", "2"], "what is held is not loaded again"
            report = watcher.report()
            assert report.versions == {"champion": "1", "previous": "2"} and report.refused == ()
            assert report.generation == report.wanted == registry.desired("small").generation == replica.held.generation
            changes = [(event.alias, event.before, event.after) for event in replica.told(Swapped)]
            assert changes == [
                ("champion", None, "1"),
                ("challenger", None, "2"),
                ("champion", "1", "2"),
                ("challenger", "2", None),
                ("champion", "2", "1"),
            ]

    run(test())


def test_polling_notices_by_itself_and_quiet_polls_load_nothing(registry):
    async def test():
        replica, looks, mark = Plain(), [], registry.state_mark
        registry.state_mark = lambda model: looks.append(model) or mark(model)
        async with following(registry, replica, seconds=0.01) as watcher:
            registry.promote("small", "2", **WHY)
            await until_async(lambda: replica.held.champion.number == "2")
            await until_async(lambda: watcher.report().behind < 0.5)
            registry.promote("small", "3", Alias.CANDIDATE, **WHY)
            before = len(looks)
            await until_async(lambda: len(looks) >= before + 5)
            assert replica.loads == ["1", "2"] and len(replica.swaps) <= 4

    run(test())


def test_answers_go_on_while_versions_are_swapped_and_bad_ones_are_offered(local, small_multiclass, tmp_path):
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

    async def test():
        replica = Real(local)

        async def client():
            while True:
                version = replica.held.champion
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
                    assert replica.held.generation == watcher.report().wanted, "it was dealt with"
                else:
                    assert replica.held.champion.number == number and watcher.report().refused == ()
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


def _cut(folder):
    model = folder / "model.onnx"
    model.write_bytes(model.read_bytes()[:-100])


def _other_golden(folder):
    content = json.loads((folder / "golden.json").read_text())
    content["answers"]["probabilities"][0] = [0.2, 0.2, 0.6]
    (folder / "golden.json").write_text(json.dumps(content))


def _other_classes(folder):
    described = manifest.read(folder)
    classes = ["other", *described.identity.classes[1:]]
    manifest.write(
        dataclasses.replace(described, identity=dataclasses.replace(described.identity, classes=classes)), folder
    )


def test_a_newer_state_does_not_wait_for_a_slow_load(local):
    async def test():
        replica = Plain()
        replica.gates = {"2": threading.Event()}
        async with following(local, replica) as watcher:
            local.promote("small", "2", **WHY)
            await watcher.look()
            await until_async(lambda: "2" in replica.loads)
            local.promote("small", "3", **WHY)
            await follow(watcher)
            assert replica.held.champion.number == "3"
            replica.gates["2"].set()
            await until_async(lambda: "2" not in watcher._loading)
            local.promote("small", "4", **WHY)
            await follow(watcher)
            assert [swap[0] for swap in replica.swaps] == ["1", "3", "4"], "the late one is discarded"

    run(test())


def test_a_rollback_does_not_wait_for_a_slow_challenger_nor_a_rollout_for_a_slow_champion(local):
    async def test():
        replica = Plain()
        replica.gates = {"4": threading.Event()}
        async with following(local, replica) as watcher:
            local.promote("small", "2", **WHY)
            local.promote("small", "3", Alias.CHALLENGER, **WHY)
            local.set_rollout("small", Mode.CANARY, 0.5, **WHY)
            await follow(watcher)
            local.promote("small", "4", **WHY)
            local.set_rollout("small", Mode.OFF, **WHY)
            await watcher.look()
            await until_async(lambda: "4" in replica.loads)
            assert replica.swaps[-1][:3] == ("2", None, Mode.OFF), "the canary ends at once"
            assert watcher.report().generation < watcher.report().wanted, "and 4 is still to come"
            local.promote("small", "5", **WHY)
            local.promote("small", "4", Alias.CHALLENGER, **WHY)
            local.set_rollout("small", Mode.SHADOW, **WHY)
            await watcher.look()
            await until_async(lambda: replica.held.champion.number == "5")
            assert replica.held.challenger is None and replica.loads.count("4") == 1, "a load goes on for a newer state"
            replica.gates["4"].set()
            await asyncio.wait_for(watcher.settled(), PATIENCE)
            assert replica.swaps[-1][:3] == ("5", "4", Mode.SHADOW)

    run(test())


def test_versions_are_freed_after_their_last_request(local):
    async def test():
        replica = Real(local)
        async with following(local, replica) as watcher:
            gone = weakref.ref(replica.held.champion)
            session = weakref.ref(replica.held.champion.predictor)
            in_hand = replica.held.champion
            for number in ("2", "3"):
                local.promote("small", number, **WHY)
                await follow(watcher)
            assert watcher.report().versions == {"champion": "3", "previous": "2"}
            assert gone() is in_hand, "a request still uses it"
            gc.disable()
            try:
                del in_hand
                assert gone() is None and session() is None, "no cycle keeps it"
            finally:
                gc.enable()
            second = weakref.ref(watcher._kept["2"])
            local.set_serving("small", False, **WHY)
            await follow(watcher)
            assert second() is None and replica.held.champion.number == "3" and not replica.held.serving
            local.set_serving("small", True, **WHY)
            await follow(watcher)
            assert replica.held.serving and replica.loads == ["1", "2", "3"]

    run(test())


def test_refused_and_discarded_versions_are_freed(local):
    made = []

    class Remembering(Plain):
        def load(self, version):
            loaded = super().load(version)
            made.append(weakref.ref(loaded))
            return loaded

    async def test():
        replica = Remembering()
        replica.unfit = {("2", "1")}
        replica.gates = {"3": threading.Event()}
        async with following(local, replica) as watcher:
            local.promote("small", "2", **WHY)
            await follow(watcher)
            local.promote("small", "3", **WHY)
            await watcher.look()
            await until_async(lambda: "3" in replica.loads)
            local.promote("small", "1", **WHY)
            await follow(watcher)
            replica.gates["3"].set()
            await until_async(lambda: len(made) == 3 and made[2]() is None)
            assert made[0]() is not None and made[1]() is None

    run(test())


def test_without_keep_previous_only_the_champion_stays(local):
    async def test():
        replica = Plain()
        async with following(local, replica, keep_previous=False) as watcher:
            first = weakref.ref(replica.held.champion)
            local.promote("small", "2", **WHY)
            await follow(watcher)
            assert first() is None and watcher.report().versions == {"champion": "2"}
            local.rollback("small", **WHY)
            await follow(watcher)
            assert replica.loads == ["1", "2", "1"]

    run(test())


def test_a_refused_version_is_tried_again_when_somebody_says_so_only(local):
    async def test():
        replica = Plain()
        replica.errors = {"2": BundleError("whole", observed="half", remedy="none")}
        async with following(local, replica) as watcher:
            local.promote("small", "2", **WHY)
            for _ in range(5):
                await follow(watcher)
            assert replica.loads == ["1", "2"] and replica.held.champion.number == "1"
            assert len(replica.told(Refused)) == 1 and replica.told(Refused)[0].reason == "bundle"
            local.promote("small", "2", **WHY)
            await follow(watcher)
            assert replica.loads == ["1", "2", "2"], "said again, it is tried again"
            abreast = watcher._abreast
            await watcher.look()
            assert watcher._abreast == abreast and watcher.report().behind > 0, "not as the registry says"
            local.promote("small", "3", Alias.CHALLENGER, **WHY)
            local.set_rollout("small", Mode.SHADOW, **WHY)
            await follow(watcher)
            assert replica.swaps[-1][:3] == ("1", "3", Mode.SHADOW) and replica.loads.count("2") == 3
            del replica.errors["2"]
            local.promote("small", "3", **WHY)
            local.promote("small", "2", **WHY)
            await follow(watcher)
            assert replica.held.champion.number == "2" and watcher.report().refused == ()
            await watcher.look()
            assert watcher._abreast > abreast

    run(test())


def test_what_cannot_be_reached_is_tried_again(local, monkeypatch):
    monkeypatch.setattr(watch, "_FIRST_PAUSE", 0.01)

    async def test():
        replica = Plain()
        replica.errors = {"2": OSError("connection lost")}
        async with following(local, replica) as watcher:
            local.promote("small", "2", **WHY)
            local.promote("small", "3", Alias.CHALLENGER, **WHY)
            local.set_rollout("small", Mode.SHADOW, **WHY)
            await watcher.look()
            await until_async(lambda: replica.loads.count("2") >= 3)
            (refusal,) = watcher.report().refused
            assert refusal.again and refusal.error == "connection lost"
            assert len(replica.told(Refused)) == 1 and replica.told(Refused)[0].reason == "unreachable"
            assert replica.swaps[-1][:2] == ("1", "3"), "the challenger need not wait for it"
            await asyncio.wait_for(watcher.settled(), PATIENCE)
            replica.errors.clear()
            await until_async(lambda: replica.held.generation == watcher.report().wanted)
            assert replica.swaps[-1][:2] == ("2", "3") and watcher.report().refused == ()

    run(test())


def test_a_challenger_that_does_not_fit_the_new_champion_is_dropped(local):
    async def test():
        replica = Plain()
        replica.unfit = {("3", "2")}
        async with following(local, replica) as watcher:
            local.promote("small", "3", Alias.CHALLENGER, **WHY)
            local.set_rollout("small", Mode.SHADOW, **WHY)
            await follow(watcher)
            local.promote("small", "2", **WHY)
            await follow(watcher)
            assert replica.swaps[-1][:3] == ("2", None, Mode.OFF)
            assert [(r.alias, r.version) for r in watcher.report().refused] == [("challenger", "3")]

    run(test())


@pytest.mark.parametrize("refused", [False, True])
def test_champion_and_challenger_change_places(local, refused):
    async def test():
        replica = Plain()
        if refused:
            replica.errors = {"2": BundleError("whole", observed="half", remedy="none")}
        async with following(local, replica) as watcher:
            local.promote("small", "2", **WHY)
            local.promote("small", "1", Alias.CHALLENGER, **WHY)
            local.set_rollout("small", Mode.SHADOW, **WHY)
            await follow(watcher)
            assert replica.loads == ["1", "2"] and replica.held.generation == watcher.report().wanted
            assert replica.swaps[-1][:3] == (("1", None, Mode.OFF) if refused else ("2", "1", Mode.SHADOW))

    run(test())


def test_a_rollback_is_never_refused_for_its_schema(local):
    """Version 2 takes more than 1; the way back must stay open, also where 1 was never held."""

    async def test():
        local.promote("small", "2", **WHY)
        replica = Plain()
        replica.unfit = {("1", "2")}
        async with following(local, replica) as watcher:
            local.rollback("small", **WHY)
            await follow(watcher)
            assert replica.held.champion.number == "1"

    run(test())


@pytest.mark.parametrize(
    "content", ["", '{"format": 1, "gener', "[]", '{"format": 2}', '{"format": 1, "generation": "x"}']
)
def test_a_broken_state_leaves_all_as_it_was(local, tmp_path, content, caplog):
    async def test():
        replica = Plain()
        file = tmp_path / "registry/small/desired.json"
        async with following(local, replica) as watcher:
            local.promote("small", "2", **WHY)
            whole = file.read_bytes()
            file.write_text(content)
            for _ in range(3):
                await follow(watcher)
            report = watcher.report()
            assert replica.held.champion.number == "1" and report.unread == 3
            assert "desired.json is one that the registry wrote" in report.error
            assert len([r for r in caplog.records if "cannot be read" in r.message]) == 1, "said once"
            file.write_bytes(whole)
            await follow(watcher)
            assert replica.held.champion.number == "2" and watcher.report().error is None

    run(test())


def test_a_registry_that_goes_away_and_comes_back(local, tmp_path):
    async def test():
        replica = Plain()
        async with following(local, replica) as watcher:
            (tmp_path / "registry").rename(tmp_path / "away")
            await follow(watcher)
            assert "has a champion" in watcher.report().error and replica.held.champion.number == "1"
            (tmp_path / "away").rename(tmp_path / "registry")
            await follow(watcher)
            assert watcher.report().error is None and watcher.report().unread == 1
            assert replica.loads == ["1"]

    run(test())


def test_a_replica_that_fails_to_swap_is_asked_again(local, monkeypatch):
    """Its ledger may be full for a moment: what it holds and what the watcher says stay one."""
    monkeypatch.setattr(watch, "_FIRST_PAUSE", 0.01)

    class Failing(Plain):
        failures = 2

        def swap(self, held):
            if held.champion.number == "2" and self.failures:
                self.failures -= 1
                raise OSError("disk full")
            super().swap(held)

    async def test():
        replica = Failing()
        async with following(local, replica) as watcher:
            local.promote("small", "2", **WHY)
            await follow(watcher)
            await until_async(lambda: replica.held.generation == watcher.report().wanted)
            assert replica.held.champion.number == "2" == watcher.report().versions["champion"]
            assert replica.loads == ["1", "2"] and replica.failures == 0

    run(test())


def test_it_starts_with_the_champion_before_where_the_champion_is_refused(local):
    async def test():
        local.promote("small", "2", **WHY)
        replica = Plain()
        replica.errors = {"2": BundleError("whole", observed="half", remedy="none")}
        async with following(local, replica) as watcher:
            await watcher.settled()
            assert replica.swaps[-1][0] == "1"
            assert [(r.alias, r.version) for r in watcher.report().refused] == [("champion", "2")]
            local.promote("small", "3", **WHY)
            await follow(watcher)
            assert replica.held.champion.number == "3"

    run(test())


def test_it_starts_with_the_newest_champion_that_is_not_refused(local):
    """As replicas that run hold it: two refused ones in a row must not keep a new replica from starting."""
    replica = Plain()
    for version in ("2", "3", "2"):
        local.promote("small", version, **WHY)
    replica.errors = {
        "2": BundleError("is signed", observed="no", remedy="sign it"),
        "3": SchemaError("is known", observed="a newer release's", remedy="use that"),
    }

    async def main():
        async with following(local, replica) as watcher:
            assert replica.swaps == [("1", None, Mode.OFF, 0.0, True)] and replica.loads[:3] == ["2", "3", "1"]
            await watcher.settled()
            assert not watcher.report().refused[0].again

    run(main())


def test_a_rollback_to_a_version_that_was_refused_here_is_refused_again(local):
    replica = Plain()
    replica.unfit = {("2", "1"), ("2", "3")}

    async def main():
        async with following(local, replica) as watcher:
            local.promote("small", "2", **WHY)
            await follow(watcher)
            local.promote("small", "3", **WHY)
            await follow(watcher)
            assert replica.held.champion.number == "3"
            local.rollback("small", **WHY)
            await follow(watcher)
            assert [refusal.version for refusal in watcher.report().refused] == ["2"]
            assert replica.held.champion.number == "3", "it has never served"
            replica.unfit = {("2", "4")}
            local.promote("small", "2", **WHY)
            await follow(watcher)
            local.promote("small", "4", **WHY)
            await follow(watcher)
            local.rollback("small", **WHY)
            await follow(watcher)
            assert replica.held.champion.number == "2", "meanwhile it has"

    run(main())


def test_it_does_not_start_without_anything_to_serve(local):
    async def start(replica):
        await Watcher(local, "small", replica).start()

    replica = Plain()
    replica.errors = {"1": BundleError("whole", observed="half of 1", remedy="none")}
    with pytest.raises(BundleError, match="half of 1"):
        run(start(replica))
    local.promote("small", "2", **WHY)
    replica.errors["2"] = BundleError("whole", observed="half of 2", remedy="none")
    with pytest.raises(BundleError, match="half of 2"):
        run(start(replica))

    async def start_unknown():
        await Watcher(local, "ghost", replica).start()

    with pytest.raises(RegistryError, match=r"A model that is served has a champion.*ghost has none.*promote ghost"):
        run(start_unknown())


def test_loading_is_off_the_event_loop(local):
    """While a version loads, for as long as it likes, the loop turns."""

    async def test():
        replica = Plain()
        replica.gates = {"2": threading.Event()}
        async with following(local, replica) as watcher:
            local.promote("small", "2", **WHY)
            await watcher.look()
            await until_async(lambda: "2" in replica.loads)
            for _ in range(1000):
                await asyncio.sleep(0)
            assert replica.held.champion.number == "1"
            replica.gates["2"].set()
            await asyncio.wait_for(watcher.settled(), PATIENCE)
            assert replica.held.champion.number == "2"

    run(test())


@pytest.fixture
def described(small_multiclass):
    return manifest.read(small_multiclass.folder)


def _with(described, columns=None, **identity):
    content = manifest.plain(described)
    content["identity"].update(identity)
    content["interface"]["schema"]["columns"].update(columns or {})
    content["interface"]["schema"]["columns"] = {
        name: entry for name, entry in content["interface"]["schema"]["columns"].items() if entry
    }
    return manifest.parse(json.dumps(content).encode(), "here")


@pytest.mark.parametrize(
    ("columns", "identity", "difference"),
    [
        ({}, {"objective": str(Objective.BINARY)}, "objective binary instead of multiclass"),
        ({}, {"classes": ["mid", "low", "ä-high"]}, "classes mid, low, ä-high instead of low, mid, ä-high"),
        ({"new": {"kind": str(Kind.NUMERIC), "missing_allowed": False}}, {}, "column new may not be missing"),
        ({"size": {"kind": str(Kind.NUMERIC), "missing_allowed": False}}, {}, "column size may not be missing"),
        ({"size": {"kind": str(Kind.CATEGORICAL)}}, {}, "column size is categorical instead of numeric"),
        ({"size": None}, {}, "column size is unknown to it"),
    ],
)
def test_what_does_not_fit_is_named(described, columns, identity, difference):
    with pytest.raises(BundleError, match=rf"answers every request.*{difference}.*another model's name"):
        fitting.check(_with(described, columns, version="2", **identity), described)


def test_what_takes_more_fits(described):
    more = {"new": {"kind": "numeric"}, "open": {"kind": "boolean"}, "size": {"kind": "numeric", "role": "ignored"}}
    fitting.check(_with(described, more), described)
    fitting.check(described, described)


def test_a_bundle_that_was_carried_to_another_number_is_refused(local, tmp_path):
    async def test():
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
            assert replica.held.champion.number == "1"

    run(test())
