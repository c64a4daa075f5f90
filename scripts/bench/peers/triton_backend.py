"""Triton through pytriton: its Python backend behind its own HTTP server, requests joined by its dynamic batcher.

python triton_backend.py PLAN.json PORT
"""

import sys

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from scoring import Scorer

scorer = Scorer(sys.argv[1])
port = int(sys.argv[2])


@batch
def infer(**given: np.ndarray) -> dict[str, np.ndarray]:
    columns = {
        name: values[:, 0] if scorer.numeric[name] else np.array([text.decode() for text in values[:, 0]], np.object_)
        for name, values in given.items()
    }
    probabilities, labels = scorer.arrays(columns)
    return {"probabilities": probabilities, "label": np.char.encode(labels.astype(str), "utf-8")[:, None]}


inputs = [
    Tensor(name=name, dtype=np.float64 if number else bytes, shape=(1,)) for name, number in scorer.numeric.items()
]
outputs = [
    Tensor(name="probabilities", dtype=np.float32, shape=(len(scorer.classes),)),
    Tensor(name="label", dtype=bytes, shape=(1,)),
]
config = TritonConfig(
    http_address="127.0.0.1",
    http_port=port,
    grpc_address="127.0.0.1",
    grpc_port=port + 1,
    allow_metrics=False,
    log_verbose=0,
)
with Triton(config=config) as triton:
    triton.bind(
        model_name="small",
        infer_func=infer,
        inputs=inputs,
        outputs=outputs,
        config=ModelConfig(max_batch_size=64, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
        strict=False,
    )
    triton.serve()
