"""Answers in the Open Inference Protocol: JSON, JSON with binary data behind it, or a gRPC message; and errors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tidemill.bundle.answers import Answers
from tidemill.errors import TidemillError
from tidemill.serve.wire.inference import tensors
from tidemill.serve.wire.inference.requests import InferRequest
from tidemill.serve.wire.refusals import refused

if TYPE_CHECKING:
    from tidemill.serve.wire.request import Part

DATATYPES = {"probabilities": "FP32", "label": "BYTES", "value": "FP32", "lower": "FP32", "upper": "FP32"}
_JSON = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class InferResponse:
    """What is sent, before it is written down.

    version: that answered; of several, the first row's.
    parameters: `request_id` (row i's answer, for feedback, has f"{request_id}-{i}") and `role`; where several versions
        answered, also `versions` and `roles`, one per row, joined by commas.
    """

    model: str
    version: str
    parameters: Mapping[str, str]
    answers: Answers


def joined(parts: Sequence["Part"], rows: int, id: str) -> InferResponse:
    """One response of N rows from the parts that versions answered.

    Raises:
        RequestError: 409, the parts are of versions with different classes, so that no one tensor can hold them.
    """
    first = parts[0]
    identity = first.identity
    if len(parts) == 1:
        parameters = {"request_id": id, "role": str(first.role)}
        return InferResponse(identity.model, str(identity.version), parameters, first.answers)
    if any(part.identity.classes != identity.classes for part in parts):
        observed = " and ".join(f"version {part.identity.version}" for part in parts)
        rule = "All rows of a request are answered by versions with the same classes"
        raise refused(409, rule, f"{observed} answered", "pin a version, or send the rows one by one")
    places = [np.asarray(part.rows) for part in parts]
    order = np.argsort(np.concatenate(places), kind="stable")
    answers = {name: np.concatenate([part.answers[name] for part in parts])[order] for name in first.answers}
    versions, roles = [""] * rows, [""] * rows
    for part in parts:
        for row in part.rows or ():
            versions[row], roles[row] = str(part.identity.version), str(part.role)
    parameters = {"request_id": id, "role": roles[0], "versions": ",".join(versions), "roles": ",".join(roles)}
    return InferResponse(identity.model, versions[0], parameters, answers)


def http(request: InferRequest, response: InferResponse) -> tuple[bytes, dict[str, str]]:
    """Body and headers. Numbers in JSON read back as the same float32; one that is not finite is null."""
    outputs: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for wanted in request.outputs:
        values, datatype = response.answers[wanted.name], DATATYPES[wanted.name]
        output: dict[str, Any] = {"name": wanted.name, "datatype": datatype, "shape": values.shape}
        if wanted.binary:
            data = tensors.to_binary(values, datatype)
            output["parameters"] = {"binary_data_size": len(data)}
            binary.append(data)
        else:
            output["data"] = values.ravel().tolist()
        outputs.append(output)
    content = {"model_name": response.model, "model_version": response.version}
    if request.id:
        content["id"] = request.id
    head = _JSON.encode({**content, "parameters": response.parameters, "outputs": outputs})
    if not binary:
        return head, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return b"".join((head, *binary)), headers


def message(request: InferRequest, response: InferResponse) -> Any:
    """A ModelInferResponse, always with raw contents: clients' `as_numpy` reads nothing else."""
    from tidemill.serve.wire.inference.messages import ModelInferResponse

    answer = ModelInferResponse(model_name=response.model, model_version=response.version, id=request.id)
    for name, text in response.parameters.items():
        answer.parameters[name].string_param = text
    for wanted in request.outputs:
        values, datatype = response.answers[wanted.name], DATATYPES[wanted.name]
        answer.outputs.add(name=wanted.name, datatype=datatype, shape=values.shape)
        answer.raw_output_contents.append(tensors.to_binary(values, datatype))
    return answer


def error_body(error: TidemillError) -> bytes:
    """The one form in which clients of the protocol look for a reason."""
    return _JSON.encode({"error": str(error)})
