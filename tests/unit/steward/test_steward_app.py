"""The steward as a Ray Serve application: it takes up its work, says how far it is, and ends with its application."""

from datetime import timedelta
from pathlib import Path

import pytest
from served import MODEL, NOW, Served

import own_ray
from tidemill.serve.on_ray import ray_token
from tidemill.steward.book import Book, Kind

pytestmark = pytest.mark.xdist_group("ray")

SCRIPT = """
import json, os, random, sys, time, urllib.error, urllib.request
from pathlib import Path
from tidemill.serve.door import key_file
from tidemill.serve.on_ray import ray_token
os.environ |= ray_token.environment()
import own_ray, ray
from patience import PATIENCE
from ray import serve
from tidemill.steward.app import build


place = sys.argv[1]
port = random.randrange(20_000, 32_000)  # one that the system gives out may be taken by another of Ray's processes
own_ray.start(num_cpus=2)
serve.start(http_options={"host": "127.0.0.1", "port": port})
arguments = {
    "registry": f"{place}/registry", "model": "m", "ledger": {"path": f"{place}/ledger"}, "work": f"{place}/work",
    "policy": f"{place}/policy.yaml", "keys": f"{place}/keys.json",
}
key = key_file.create(Path(place) / "keys.json", "me", ["metrics"])[1]
serve.run(build(arguments), name="steward", route_prefix="/steward")
end = time.monotonic() + PATIENCE
url = f"http://127.0.0.1:{port}/steward"
try:
    urllib.request.urlopen(url, timeout=PATIENCE)
    raise AssertionError("it answers who has no key")
except urllib.error.HTTPError as error:
    assert error.code == 401, error.read()
while True:
    with urllib.request.urlopen(urllib.request.Request(url, headers={"X-API-Key": key}), timeout=PATIENCE) as response:
        told = json.load(response)
    if told.get("champion") == "2":
        break
    assert time.monotonic() < end, told
    time.sleep(0.2)
print(json.dumps([told["model"], told["stage"]]))
serve.shutdown()
ray.shutdown()
"""


@pytest.mark.slow
def test_it_works_in_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ray_token._THEIRS:
        monkeypatch.delenv(name, raising=False)
    served = Served(tmp_path)
    served.challenge("2")
    begin = NOW - timedelta(hours=60)
    served.answer(begin, 1000, champion=("1", 0.1), shadow=("2", 0.4))
    served.crowned(begin - timedelta(hours=1))
    policy = "{time: {label_wait_hours: 3.0, look_seconds: 0.1}, trial: {canary: []}}"
    (tmp_path / "policy.yaml").write_text(policy)
    ran = own_ray.run(SCRIPT, tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr[-3000:]
    assert f'["{MODEL}", "probation"]' in ran.stdout
    assert [one.kind for one in Book(served.ledger, MODEL).decisions()] == [Kind.PROMOTE]
