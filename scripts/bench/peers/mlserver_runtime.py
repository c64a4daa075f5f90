"""MLServer with a custom runtime in its own process (parallel_workers = 0).

python mlserver_runtime.py PLAN.json PORT
"""

import asyncio
import sys

import numpy as np
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from scoring import Scorer


class Runtime(MLModel):
    async def load(self) -> bool:
        self.scorer = Scorer(sys.argv[1])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        numeric = self.scorer.numeric
        given = {
            each.name: np.array(each.data.root, np.float64 if numeric[each.name] else np.object_)
            for each in payload.inputs
        }
        probabilities, labels = self.scorer.arrays(given)
        outputs = [
            ResponseOutput(
                name="probabilities",
                datatype="FP32",
                shape=list(probabilities.shape),
                data=probabilities.ravel().tolist(),
            ),
            ResponseOutput(name="label", datatype="BYTES", shape=[len(labels)], data=labels.tolist()),
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)


async def main() -> None:
    port = int(sys.argv[2])
    settings = Settings(
        host="127.0.0.1", http_port=port, grpc_port=port + 1, metrics_port=port + 2, parallel_workers=0, debug=False
    )
    await MLServer(settings).start([ModelSettings(name="small", implementation=Runtime)])


asyncio.run(main())
