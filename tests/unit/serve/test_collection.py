import asyncio
import os

import pytest

from tidemill.serve.collection import Collection

TEXT = b"# HELP x_total x\n# TYPE x_total counter\nx_total %d\n"


@pytest.fixture(scope="module")
def ray():
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        logging_level="ERROR",
        log_to_driver=False,
        namespace="collection",
    )
    yield ray
    ray.shutdown()


async def until(collection, text, wanted):
    """Scrape until all wanted lines are there."""
    for _ in range(100):
        got = (await collection.collect(text)).decode().splitlines()
        if set(wanted) == {line for line in got if not line.startswith("#")}:
            return True
        await asyncio.sleep(0.1)
    return False


@pytest.mark.slow
def test_one_scrape_shows_all_replicas_and_outlives_what_holds_them_together(ray):
    async def story():
        first, second, alone = (Collection(*names, period=0.1) for names in (("a", "m"), ("b", "m"), ("c", "other")))
        count = [1]
        first.start(lambda: TEXT % count[0])
        both = ['x_total{replica="a"} 1', 'x_total{replica="b"} 7']
        assert await until(second, TEXT % 7, both)
        count[0] = 2
        both[0] = 'x_total{replica="a"} 2'
        assert await until(second, TEXT % 7, both), "the latest"
        assert await until(alone, TEXT % 9, ['x_total{replica="c"} 9']), "another application is another matter"

        ray.kill(ray.get_actor("tidemill-metrics-m"))
        assert await until(second, TEXT % 8, ['x_total{replica="a"} 2', 'x_total{replica="b"} 8'])
        await first.stop()

    asyncio.run(story())


def test_without_ray_a_scrape_shows_its_own_replica(monkeypatch):
    async def story():
        collection = Collection("a", "m", period=0.01)
        monkeypatch.setattr(collection, "_found", lambda: 1 / 0)
        collection.start(lambda: TEXT % 1)
        await asyncio.sleep(0.05)
        assert b'x_total{replica="a"} 2' in await collection.collect(TEXT % 2)
        await collection.stop()
        await Collection("b", "m").stop()
        profiles = Collection("a", "m", merge=lambda texts: b"+".join(texts.values()))
        monkeypatch.setattr(profiles, "_found", lambda: 1 / 0)
        assert await profiles.collect(b"mine") == b"mine"

    asyncio.run(story())
