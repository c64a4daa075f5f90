"""Triton's own clients: what a server of the protocol answers to the same rows, sent in every way they can.

    python triton_client.py ROWS.json HTTP_PORT [GRPC_PORT]

Prints JSON: the inputs and outputs of the metadata by name, and the outputs by way of sending.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http

MODEL = "small"
OUTPUTS = ("probabilities", "label")


def tensors(rows: list[dict[str, Any]], module: Any, **how: bool) -> list[Any]:
    found = []
    for name, value in rows[0].items():
        number = isinstance(value, float)
        values = np.array([[row[name]] for row in rows], np.float64 if number else np.object_)
        found.append(module.InferInput(name, values.shape, "FP64" if number else "BYTES"))
        found[-1].set_data_from_numpy(values, **how)
    return found


def plain(result: Any) -> dict[str, list[Any]]:
    arrays = {name: result.as_numpy(name) for name in OUTPUTS}
    labels = [each.decode() if isinstance(each, bytes) else str(each) for each in arrays["label"].ravel()]
    return {"probabilities": arrays["probabilities"].tolist(), "label": labels}


def kinds(tensors: Any) -> dict[str, str]:
    return {tensor["name"]: tensor["datatype"] for tensor in tensors}


def main() -> None:
    rows = json.loads(Path(sys.argv[1]).read_text())
    http = tritonclient.http.InferenceServerClient(f"127.0.0.1:{sys.argv[2]}")
    assert http.is_server_live() and http.is_server_ready() and http.is_model_ready(MODEL)
    metadata = http.get_model_metadata(MODEL)
    ways: dict[str, Any] = {}
    for way, binary in (("http json", False), ("http binary", True)):
        outputs = [tritonclient.http.InferRequestedOutput(name, binary_data=binary) for name in OUTPUTS]
        given = tensors(rows, tritonclient.http, binary_data=binary)
        for name, encoding in ((way, None), (f"{way}, gzip", "gzip"), (f"{way}, deflate", "deflate")):
            compressed = {"request_compression_algorithm": encoding, "response_compression_algorithm": encoding}
            ways[name] = plain(http.infer(MODEL, given, outputs=outputs, request_id="r", **compressed))
    if len(sys.argv) > 3:
        grpc = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{sys.argv[3]}")
        assert grpc.is_server_live() and grpc.is_server_ready() and grpc.is_model_ready(MODEL)
        by_grpc = grpc.get_model_metadata(MODEL, as_json=True)
        assert (
            kinds(by_grpc["inputs"]) == kinds(metadata["inputs"]) and grpc.get_model_config(MODEL).config.name == MODEL
        )
        ways["grpc"] = plain(grpc.infer(MODEL, tensors(rows, tritonclient.grpc), request_id="r"))
        ways["grpc, gzip"] = plain(
            grpc.infer(MODEL, tensors(rows, tritonclient.grpc), request_id="r", compression_algorithm="gzip")
        )
    metadata = {"inputs": kinds(metadata["inputs"]), "outputs": kinds(metadata["outputs"])}
    print(json.dumps({"metadata": metadata, "ways": ways}))


main()
