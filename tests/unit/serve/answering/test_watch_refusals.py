"""What the watcher does with versions, states and registries that it cannot take."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from watch_parts import WHY, Plain, follow, following, local, registry, run

from patience import PATIENCE, until_async
from tidemill.bundle.registry.registry import Alias, Registry
from tidemill.bundle.registry.rollout import Mode
from tidemill.errors import BundleError, RegistryError, SchemaError
from tidemill.serve.answering import watch
from tidemill.serve.answering.watch import Watcher
from tidemill.serve.hooks.observer import Refused

__all__ = ["local", "registry"]


def test_a_refused_version_is_tried_again_when_somebody_says_so_only(local: Registry) -> None:
    async def test() -> None:
        replica = Plain()
        replica.errors = {"2": BundleError("whole", observed="half", remedy="none")}
        async with following(local, replica) as watcher:
            local.promote("small", "2", **WHY)
            for _ in range(5):
                await follow(watcher)
            assert replica.loads == ["1", "2"] and replica.active.champion.number == "1"
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
            assert replica.active.champion.number == "2" and watcher.report().refused == ()
            await watcher.look()
            assert watcher._abreast > abreast

    run(test())


def test_what_cannot_be_reached_is_tried_again(local: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_FIRST_PAUSE", 0.01)

    async def test() -> None:
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
            await until_async(lambda: replica.active.generation == watcher.report().wanted)
            assert replica.swaps[-1][:2] == ("2", "3") and watcher.report().refused == ()

    run(test())


def test_a_challenger_that_does_not_fit_the_new_champion_is_dropped(local: Registry) -> None:
    async def test() -> None:
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
def test_champion_and_challenger_change_places(local: Registry, refused: bool) -> None:
    async def test() -> None:
        replica = Plain()
        if refused:
            replica.errors = {"2": BundleError("whole", observed="half", remedy="none")}
        async with following(local, replica) as watcher:
            local.promote("small", "2", **WHY)
            local.promote("small", "1", Alias.CHALLENGER, **WHY)
            local.set_rollout("small", Mode.SHADOW, **WHY)
            await follow(watcher)
            assert replica.loads == ["1", "2"] and replica.active.generation == watcher.report().wanted
            assert replica.swaps[-1][:3] == (("1", None, Mode.OFF) if refused else ("2", "1", Mode.SHADOW))

    run(test())


def test_a_rollback_is_never_refused_for_its_schema(local: Registry) -> None:
    """Version 2 takes more than 1; the way back must stay open, also where 1 was never active."""

    async def test() -> None:
        local.promote("small", "2", **WHY)
        replica = Plain()
        replica.unfit = {("1", "2")}
        async with following(local, replica) as watcher:
            local.rollback("small", **WHY)
            await follow(watcher)
            assert replica.active.champion.number == "1"

    run(test())


@pytest.mark.parametrize(
    "content", ["", '{"format": 1, "gener', "[]", '{"format": 2}', '{"format": 1, "generation": "x"}']
)
def test_a_broken_state_leaves_all_as_it_was(
    local: Registry, tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        replica = Plain()
        file = tmp_path / "registry/small/desired.json"
        async with following(local, replica) as watcher:
            local.promote("small", "2", **WHY)
            whole = file.read_bytes()
            file.write_text(content)
            for _ in range(3):
                await follow(watcher)
            report = watcher.report()
            assert replica.active.champion.number == "1" and report.unread == 3
            assert "desired.json is one that the registry wrote" in report.error
            assert len([r for r in caplog.records if "cannot be read" in r.message]) == 1, "said once"
            file.write_bytes(whole)
            await follow(watcher)
            assert replica.active.champion.number == "2" and watcher.report().error is None

    run(test())


def test_a_registry_that_goes_away_and_comes_back(local: Registry, tmp_path: Path) -> None:
    async def test() -> None:
        replica = Plain()
        async with following(local, replica) as watcher:
            (tmp_path / "registry").rename(tmp_path / "away")
            await follow(watcher)
            assert "has a champion" in watcher.report().error and replica.active.champion.number == "1"
            (tmp_path / "away").rename(tmp_path / "registry")
            await follow(watcher)
            assert watcher.report().error is None and watcher.report().unread == 1
            assert replica.loads == ["1"]

    run(test())


def test_a_replica_that_fails_to_swap_is_asked_again(local: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ledger may be full for a moment: what it holds and what the watcher says stay one."""
    monkeypatch.setattr(watch, "_FIRST_PAUSE", 0.01)

    class Failing(Plain):
        failures = 2

        def swap(self, active: Any) -> None:
            if active.champion.number == "2" and self.failures:
                self.failures -= 1
                raise OSError("disk full")
            super().swap(active)

    async def test() -> None:
        replica = Failing()
        async with following(local, replica) as watcher:
            local.promote("small", "2", **WHY)
            await follow(watcher)
            await until_async(lambda: replica.active.generation == watcher.report().wanted)
            assert replica.active.champion.number == "2" == watcher.report().versions["champion"]
            assert replica.loads == ["1", "2"] and replica.failures == 0

    run(test())


def test_it_starts_with_the_champion_before_where_the_champion_is_refused(local: Registry) -> None:
    async def test() -> None:
        local.promote("small", "2", **WHY)
        replica = Plain()
        replica.errors = {"2": BundleError("whole", observed="half", remedy="none")}
        async with following(local, replica) as watcher:
            await watcher.settled()
            assert replica.swaps[-1][0] == "1"
            assert [(r.alias, r.version) for r in watcher.report().refused] == [("champion", "2")]
            local.promote("small", "3", **WHY)
            await follow(watcher)
            assert replica.active.champion.number == "3"

    run(test())


def test_it_starts_with_the_newest_champion_that_is_not_refused(local: Registry) -> None:
    """As replicas that run hold it: two refused ones in a row must not keep a new replica from starting."""
    replica = Plain()
    for version in ("2", "3", "2"):
        local.promote("small", version, **WHY)
    replica.errors = {
        "2": BundleError("is signed", observed="no", remedy="sign it"),
        "3": SchemaError("is known", observed="a newer release's", remedy="use that"),
    }

    async def main() -> None:
        async with following(local, replica) as watcher:
            assert replica.swaps == [("1", None, Mode.OFF, 0.0, True)] and replica.loads[:3] == ["2", "3", "1"]
            await watcher.settled()
            assert not watcher.report().refused[0].again

    run(main())


def test_a_rollback_to_a_version_that_was_refused_here_is_refused_again(local: Registry) -> None:
    replica = Plain()
    replica.unfit = {("2", "1"), ("2", "3")}

    async def main() -> None:
        async with following(local, replica) as watcher:
            local.promote("small", "2", **WHY)
            await follow(watcher)
            local.promote("small", "3", **WHY)
            await follow(watcher)
            assert replica.active.champion.number == "3"
            local.rollback("small", **WHY)
            await follow(watcher)
            assert [refusal.version for refusal in watcher.report().refused] == ["2"]
            assert replica.active.champion.number == "3", "it has never served"
            replica.unfit = {("2", "4")}
            local.promote("small", "2", **WHY)
            await follow(watcher)
            local.promote("small", "4", **WHY)
            await follow(watcher)
            local.rollback("small", **WHY)
            await follow(watcher)
            assert replica.active.champion.number == "2", "meanwhile it has"

    run(main())


def test_it_does_not_start_without_anything_to_serve(local: Registry) -> None:
    async def start(replica: Plain) -> None:
        await Watcher(local, "small", replica).start()

    replica = Plain()
    replica.errors = {"1": BundleError("whole", observed="half of 1", remedy="none")}
    with pytest.raises(BundleError, match="half of 1"):
        run(start(replica))
    local.promote("small", "2", **WHY)
    replica.errors["2"] = BundleError("whole", observed="half of 2", remedy="none")
    with pytest.raises(BundleError, match="half of 2"):
        run(start(replica))

    async def start_unknown() -> None:
        await Watcher(local, "ghost", replica).start()

    with pytest.raises(RegistryError, match=r"A model that is served has a champion.*ghost has none.*promote ghost"):
        run(start_unknown())
