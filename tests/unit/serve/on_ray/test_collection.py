import asyncio

import pytest

import own_ray
from patience import until_async
from tidemill.serve.on_ray.collection import Collection

pytestmark = pytest.mark.xdist_group("ray")

TEXT = b"# HELP x_total x\n# TYPE x_total counter\nx_total %d\n"
SCRIPT = """
import asyncio, os
from tidemill.serve.on_ray import ray_token
os.environ |= ray_token.environment()
import own_ray, ray
from patience import PATIENCE
from tidemill.serve.on_ray.collection import Collection

TEXT = b"# HELP x_total x\\n# TYPE x_total counter\\nx_total %d\\n"
own_ray.start(namespace="collection")

async def until(collection, text, *wanted):  # scrape until just these lines are there
    for _ in range(int(PATIENCE / 0.1)):
        got = (await collection.collect(text)).decode().splitlines()
        if set(wanted) == {line for line in got if not line.startswith("#")}:
            return print("seen", *wanted)
        await asyncio.sleep(0.1)
    raise SystemExit(f"{wanted} never came, but {got}")

async def story():
    first, second, alone = (Collection(*names, period=0.1) for names in (("a", "m"), ("b", "m"), ("c", "other")))
    count = [1]
    first.start(lambda: TEXT % count[0])
    await until(second, TEXT % 7, 'x_total{replica="a"} 1', 'x_total{replica="b"} 7')
    count[0] = 2  # the latest is shown
    await until(second, TEXT % 7, 'x_total{replica="a"} 2', 'x_total{replica="b"} 7')
    await until(alone, TEXT % 9, 'x_total{replica="c"} 9')  # another application is another matter

    ray.kill(ray.get_actor("tidemill-metrics-m"))
    await until(second, TEXT % 8, 'x_total{replica="a"} 2', 'x_total{replica="b"} 8')
    await first.stop()

asyncio.run(story())
ray.shutdown()
"""


@pytest.mark.slow
def test_one_scrape_shows_all_replicas_and_outlives_what_holds_them_together() -> None:
    ran = own_ray.run(SCRIPT)
    assert ran.returncode == 0 and ran.stdout.count("seen") == 4, ran.stdout + ran.stderr[-3000:]


def test_without_ray_a_scrape_shows_its_own_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        collection = Collection("a", "m", period=0.01)
        tries = []
        monkeypatch.setattr(collection, "_found", lambda: tries.append(1) or 1 / 0)
        collection.start(lambda: TEXT % 1)
        await until_async(lambda: len(tries) >= 2)
        assert b'x_total{replica="a"} 2' in await collection.collect(TEXT % 2)
        await collection.stop()
        await Collection("b", "m").stop()
        profiles = Collection("a", "m", merge=lambda texts: b"+".join(texts.values()))
        monkeypatch.setattr(profiles, "_found", lambda: 1 / 0)
        assert await profiles.collect(b"mine") == b"mine"

    asyncio.run(story())
