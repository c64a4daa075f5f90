"""LitServe: one worker process, requests joined into batches as they come.

python litserve_api.py PLAN.json PORT
"""

import sys
from typing import Any

import litserve
from fastapi import Request
from scoring import Scorer


class Service(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.scorer = Scorer(sys.argv[1])

    def decode_request(self, request: Request) -> Any:
        return request["rows"]

    def predict(self, rows: Any) -> Any:
        return self.scorer.rows(rows)

    def encode_response(self, output: Any) -> Any:
        return {"predictions": output}


if __name__ == "__main__":
    server = litserve.LitServer(Service(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning")
