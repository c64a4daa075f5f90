"""Answers in the Open Inference Protocol: JSON, JSON with binary data behind it, or a gRPC message; and errors."""

from typing import Any

import msgspec

from tidemill.errors import TidemillError
from tidemill.serve.wire.inference import tensors
from tidemill.serve.wire.inference.requests import InferRequest
from tidemill.serve.wire.request import Answer, Reply

DATATYPES = {"probabilities": "FP32", "label": "BYTES", "value": "FP32", "lower": "FP32", "upper": "FP32"}
_JSON = msgspec.json.Encoder()


def http(request: InferRequest, id: str, answer: Answer) -> Reply:
    """Numbers in JSON read back as the same float32; one that is not finite is null."""
    outputs: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for wanted in request.outputs:
        values, datatype = answer.answers[wanted.name], DATATYPES[wanted.name]
        output: dict[str, Any] = {"name": wanted.name, "datatype": datatype, "shape": values.shape}
        if wanted.binary:
            data = tensors.to_binary(values, datatype)
            output["parameters"] = {"binary_data_size": len(data)}
            binary.append(data)
        else:
            output["data"] = values.ravel().tolist()
        outputs.append(output)
    version, parameters = _parameters(id, answer)
    content = {"model_name": answer.identity.model, "model_version": version}
    if request.id:
        content["id"] = request.id
    head = _JSON.encode({**content, "parameters": parameters, "outputs": outputs})
    if not binary:
        return Reply(head)
    length = (b"inference-header-content-length", str(len(head)).encode())
    return Reply(b"".join((head, *binary)), type=b"application/octet-stream", headers=(length,))


def message(request: InferRequest, id: str, answer: Answer) -> Any:
    """A ModelInferResponse, always with raw contents: clients' `as_numpy` reads nothing else."""
    from tidemill.serve.wire.inference.messages import ModelInferResponse

    version, parameters = _parameters(id, answer)
    made = ModelInferResponse(model_name=answer.identity.model, model_version=version, id=request.id)
    for name, text in parameters.items():
        made.parameters[name].string_param = text
    for wanted in request.outputs:
        values, datatype = answer.answers[wanted.name], DATATYPES[wanted.name]
        made.outputs.add(name=wanted.name, datatype=datatype, shape=values.shape)
        made.raw_output_contents.append(tensors.to_binary(values, datatype))
    return made


def _parameters(id: str, answer: Answer) -> tuple[str, dict[str, str]]:
    """The version that answered (of several, the first row's), and what a response says besides its outputs.

    `request_id` (row i's answer, for feedback, has f"{request_id}-{i}") and `role`; where several versions answered,
    also `versions` and `roles`, one for each row, joined by commas.
    """
    if answer.by is None:
        return str(answer.identity.version), {"request_id": id, "role": str(answer.role)}
    versions, roles = zip(*answer.by, strict=True)
    more = {"versions": ",".join(versions), "roles": ",".join(roles)}
    return versions[0], {"request_id": id, "role": str(roles[0]), **more}


def error_body(error: TidemillError) -> bytes:
    """The one form in which clients of the protocol look for a reason."""
    return _JSON.encode({"error": str(error)})
