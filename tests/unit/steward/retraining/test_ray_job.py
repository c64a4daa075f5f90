"""A retraining as a job of a real Ray on this machine, killed once."""

import pytest
from test_retraining_once import Place, champion, place

import own_ray
from tidemill.serve.on_ray import ray_token

pytestmark = pytest.mark.xdist_group("ray")

__all__ = ["champion", "place"]
SCRIPT = """
import json, os, random, signal, sys, time
from pathlib import Path
from tidemill.serve.on_ray import ray_token
os.environ |= ray_token.environment()
import own_ray, ray
from patience import until
port = random.randrange(20_000, 32_000)  # one that the system gives out may be taken by another of Ray's processes
context = own_ray.start(include_dashboard=True, dashboard_host="127.0.0.1", dashboard_port=port)
from test_retraining_once import Place, concluded
from tidemill.errors import TrainingError
place = Place(folder=Path(sys.argv[1]), bundle=Path(sys.argv[2]))
one, other = (place.retraining(runner="ray", ray_address=f"http://{context.dashboard_url}") for _ in range(2))

def begun():  # Ray takes jobs a while after it has started
    try:
        return one.advance().attempts == 1
    except TrainingError:
        time.sleep(0.5)

until(begun)
first = place.status()
os.kill(first["pid"], signal.SIGKILL)
until(lambda: other.advance().attempts == 2)
assert place.status(other_than=first["pid"])["resumed"]
plan = place.folder / "d1" / "plan.json"
plan.write_text(json.dumps({**json.loads(plan.read_text()), "attempts": 1}))  # as if killed before that was noted
one.advance()
place.go("train"), place.go("end")
print(concluded(other).version, one.advance().attempts, place.versions(), first["threads"])
late = place.retraining(name="d2", runner="ray", ray_address=f"http://{context.dashboard_url}", hours=0.0005)
late.advance()
pid = place.status("d2")["pid"]
print(concluded(late).why)
until(lambda: not Path(f"/proc/{pid}").exists())
print(sorted(job.submission_id for job in one._running._client().list_jobs() if job.submission_id))
ray.shutdown()
"""


@pytest.mark.slow
def test_a_job_is_submitted_once_and_gone_on_with(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ray_token._THEIRS:
        monkeypatch.delenv(name, raising=False)
    ran = own_ray.run(SCRIPT, place.folder, place.bundle)
    late = f"it took longer than retrain.hours=0.0005, and was ended. Its log: {place.folder / 'd2' / 'attempt-1.log'}"
    lines = ["2 2 ['1', '2'] 1", late, "['d1', 'd1-2', 'd2']"]
    assert ran.stdout.splitlines() == lines, ran.stdout + ran.stderr[-3000:]
    assert (place.folder / "d1" / "attempt-1.log").exists()
