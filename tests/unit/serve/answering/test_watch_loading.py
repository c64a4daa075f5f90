"""Loading beside answering: slow loads, what is freed and when, and what fits what is active."""

import asyncio
import gc
import threading
import weakref

from watch_parts import WHY, Loaded, Plain, Real, follow, following, local, registry, run

from patience import PATIENCE, until_async
from tidemill.bundle.registry.registry import Alias, Registry
from tidemill.bundle.registry.rollout import Mode

__all__ = ["local", "registry"]


def test_a_newer_state_does_not_wait_for_a_slow_load(local: Registry) -> None:
    async def test() -> None:
        replica = Plain()
        replica.gates = {"2": threading.Event()}
        async with following(local, replica) as watcher:
            local.promote("small", "2", **WHY)
            await watcher.look()
            await until_async(lambda: "2" in replica.loads)
            local.promote("small", "3", **WHY)
            await follow(watcher)
            assert replica.active.champion.number == "3"
            replica.gates["2"].set()
            await until_async(lambda: "2" not in watcher._loading)
            local.promote("small", "4", **WHY)
            await follow(watcher)
            assert "2" not in [swap[0] for swap in replica.swaps], "the late one is discarded"

    run(test())


def test_a_rollback_does_not_wait_for_a_slow_challenger_nor_a_rollout_for_a_slow_champion(local: Registry) -> None:
    async def test() -> None:
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
            assert replica.active.generation < watcher.report().wanted, "and 4 is still to come"
            local.promote("small", "5", **WHY)
            local.promote("small", "4", Alias.CHALLENGER, **WHY)
            local.set_rollout("small", Mode.SHADOW, **WHY)
            await watcher.look()
            await until_async(lambda: replica.active.champion.number == "5")
            assert replica.active.challenger is None and replica.loads.count("4") == 1, (
                "a load goes on for a newer state"
            )
            replica.gates["4"].set()
            await asyncio.wait_for(watcher.settled(), PATIENCE)
            assert replica.swaps[-1][:3] == ("5", "4", Mode.SHADOW)

    run(test())


def test_versions_are_freed_after_their_last_request(local: Registry) -> None:
    async def test() -> None:
        replica = Real(local)
        async with following(local, replica) as watcher:
            gone = weakref.ref(replica.active.champion)
            session = weakref.ref(replica.active.champion.predictor)
            in_hand = replica.active.champion
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
            assert second() is None and replica.active.champion.number == "3" and not replica.active.serving
            local.set_serving("small", True, **WHY)
            await follow(watcher)
            assert replica.active.serving and replica.loads == ["1", "2", "3"]

    run(test())


def test_refused_and_discarded_versions_are_freed(local: Registry) -> None:
    made = []

    class Remembering(Plain):
        def load(self, version: str) -> Loaded:
            loaded = super().load(version)
            made.append(weakref.ref(loaded))
            return loaded

    async def test() -> None:
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


def test_loading_is_off_the_event_loop(local: Registry) -> None:
    """While a version loads, for as long as it likes, the loop turns."""

    async def test() -> None:
        replica = Plain()
        replica.gates = {"2": threading.Event()}
        async with following(local, replica) as watcher:
            local.promote("small", "2", **WHY)
            await watcher.look()
            await until_async(lambda: "2" in replica.loads)
            for _ in range(1000):
                await asyncio.sleep(0)
            assert replica.active.champion.number == "1"
            replica.gates["2"].set()
            await asyncio.wait_for(watcher.settled(), PATIENCE)
            assert replica.active.champion.number == "2"

    run(test())
