"""Ray Serve as it comes: its plain proxy, one replica, one request at a time.

python ray_plain.py PLAN.json PORT
"""

import signal
import sys
from typing import Any

import ray
from ray import serve
from scoring import Scorer
from starlette.requests import Request


@serve.deployment
class Small:
    def __init__(self, plan: str) -> None:
        self.scorer = Scorer(plan)

    async def __call__(self, request: Request) -> Any:
        return {"predictions": self.scorer.rows((await request.json())["rows"])}


if __name__ == "__main__":
    ray.init(address="local", include_dashboard=False, num_cpus=2, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
    serve.run(Small.bind(sys.argv[1]))
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
