"""BentoML: one service, one worker.

PLAN=PLAN.json bentoml serve bentoml_service:Small --port PORT
"""

import os
from typing import Any

import bentoml
from scoring import Scorer


@bentoml.service(workers=1, threads=1, logging={"access": {"enabled": False}})
class Small:
    def __init__(self) -> None:
        self.scorer = Scorer(os.environ["PLAN"])

    @bentoml.api
    async def predict(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return {"predictions": self.scorer.rows(rows)}
