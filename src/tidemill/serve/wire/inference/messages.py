"""The protobuf messages of inference.GRPCInferenceService, made at import from the fields written here.

They live in a descriptor pool of their own, so that any protobuf runtime can make them and another module with the same
messages, as clients bring it, can be loaded in the same process. Names and numbers are those of the
Open Inference Protocol's and Triton's grpc_service.proto and model_config.proto; of the model configuration only
what `documents.model_config` writes.
"""

from typing import Any

from google.protobuf import (  # type: ignore[import-untyped]
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

PACKAGE = "inference"

_ENUMS = {
    "DataType": [
        *("TYPE_INVALID", "TYPE_BOOL", "TYPE_UINT8", "TYPE_UINT16", "TYPE_UINT32", "TYPE_UINT64"),
        *("TYPE_INT8", "TYPE_INT16", "TYPE_INT32", "TYPE_INT64"),
        *("TYPE_FP16", "TYPE_FP32", "TYPE_FP64", "TYPE_STRING", "TYPE_BF16"),
    ],
    "ModelInput.Format": ["FORMAT_NONE", "FORMAT_NHWC", "FORMAT_NCHW"],
}
"""Values count from 0."""

_MODEL = ["string name 1", "string version 2"]
_DURATIONS = ["compute_input", "compute_infer", "compute_output"]

_MESSAGES = {
    "ServerLiveRequest": [],
    "ServerLiveResponse": ["bool live 1"],
    "ServerReadyRequest": [],
    "ServerReadyResponse": ["bool ready 1"],
    "ModelReadyRequest": _MODEL,
    "ModelReadyResponse": ["bool ready 1"],
    "ServerMetadataRequest": [],
    "ServerMetadataResponse": [*_MODEL, "repeated string extensions 3"],
    "ModelMetadataRequest": _MODEL,
    "ModelMetadataResponse.TensorMetadata": ["string name 1", "string datatype 2", "repeated int64 shape 3"],
    "ModelMetadataResponse": [
        *("string name 1", "repeated string versions 2", "string platform 3"),
        *("repeated ModelMetadataResponse.TensorMetadata inputs 4",),
        *("repeated ModelMetadataResponse.TensorMetadata outputs 5",),
    ],
    "InferParameter": [
        *("choice bool bool_param 1", "choice int64 int64_param 2", "choice string string_param 3"),
        *("choice double double_param 4", "choice uint64 uint64_param 5"),
    ],
    "InferTensorContents": [
        *("repeated bool bool_contents 1", "repeated int32 int_contents 2", "repeated int64 int64_contents 3"),
        *("repeated uint32 uint_contents 4", "repeated uint64 uint64_contents 5", "repeated float fp32_contents 6"),
        *("repeated double fp64_contents 7", "repeated bytes bytes_contents 8"),
    ],
    "ModelInferRequest.InferInputTensor": [
        *("string name 1", "string datatype 2", "repeated int64 shape 3", "map InferParameter parameters 4"),
        *("InferTensorContents contents 5",),
    ],
    "ModelInferRequest.InferRequestedOutputTensor": ["string name 1", "map InferParameter parameters 2"],
    "ModelInferRequest": [
        *("string model_name 1", "string model_version 2", "string id 3", "map InferParameter parameters 4"),
        *("repeated ModelInferRequest.InferInputTensor inputs 5",),
        *("repeated ModelInferRequest.InferRequestedOutputTensor outputs 6", "repeated bytes raw_input_contents 7"),
    ],
    "ModelInferResponse.InferOutputTensor": [
        *("string name 1", "string datatype 2", "repeated int64 shape 3", "map InferParameter parameters 4"),
        *("InferTensorContents contents 5",),
    ],
    "ModelInferResponse": [
        *("string model_name 1", "string model_version 2", "string id 3", "map InferParameter parameters 4"),
        *("repeated ModelInferResponse.InferOutputTensor outputs 5", "repeated bytes raw_output_contents 6"),
    ],
    "ModelStreamInferResponse": ["string error_message 1", "ModelInferResponse infer_response 2"],
    "ModelConfigRequest": _MODEL,
    "ModelInput": [
        *("string name 1", "enum DataType data_type 2", "enum ModelInput.Format format 3", "repeated int64 dims 4"),
        "bool optional 8",
    ],
    "ModelOutput": ["string name 1", "enum DataType data_type 2", "repeated int64 dims 3"],
    "ModelVersionPolicy.Specific": ["repeated int64 versions 1"],
    "ModelVersionPolicy": ["ModelVersionPolicy.Specific specific 3"],
    "ModelTransactionPolicy": ["bool decoupled 1"],
    "ModelConfig": [
        *("string name 1", "string platform 2", "string backend 17", "ModelVersionPolicy version_policy 3"),
        *("int32 max_batch_size 4", "repeated ModelInput input 5", "repeated ModelOutput output 6"),
        *("string default_model_filename 8", "ModelTransactionPolicy model_transaction_policy 19"),
    ],
    "ModelConfigResponse": ["ModelConfig config 1"],
    "ModelStatisticsRequest": _MODEL,
    "StatisticDuration": ["uint64 count 1", "uint64 ns 2"],
    "InferStatistics": [
        f"StatisticDuration {name} {number}"
        for number, name in enumerate(["success", "fail", "queue", *_DURATIONS, "cache_hit", "cache_miss"], 1)
    ],
    "InferBatchStatistics": [
        "uint64 batch_size 1",
        *(f"StatisticDuration {name} {number}" for number, name in enumerate(_DURATIONS, 2)),
    ],
    "ModelStatistics": [
        *(*_MODEL, "uint64 last_inference 3", "uint64 inference_count 4", "uint64 execution_count 5"),
        *("InferStatistics inference_stats 6", "repeated InferBatchStatistics batch_stats 7"),
    ],
    "ModelStatisticsResponse": ["repeated ModelStatistics model_stats 1"],
    "ModelRepositoryParameter": [
        *("choice bool bool_param 1", "choice int64 int64_param 2", "choice string string_param 3"),
        *("choice bytes bytes_param 4",),
    ],
    "RepositoryIndexRequest": ["string repository_name 1", "bool ready 2"],
    "RepositoryIndexResponse.ModelIndex": [*_MODEL, "string state 3", "string reason 4"],
    "RepositoryIndexResponse": ["repeated RepositoryIndexResponse.ModelIndex models 1"],
    "RepositoryModelLoadRequest": [
        *("string repository_name 1", "string model_name 2", "map ModelRepositoryParameter parameters 3"),
    ],
    "RepositoryModelLoadResponse": [],
    "RepositoryModelUnloadRequest": [
        *("string repository_name 1", "string model_name 2", "map ModelRepositoryParameter parameters 3"),
    ],
    "RepositoryModelUnloadResponse": [],
}
"""Message → its fields: `[repeated | map | choice | enum] type name number`; a map goes from string, a choice is the
oneof `parameter_choice`. A dot means: nested in."""

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = ("bool", "int32", "int64", "uint32", "uint64", "float", "double", "string", "bytes")


def _file() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="tidemill/inference.proto", package=PACKAGE, syntax="proto3")
    made: dict[str, Any] = {}
    for name in sorted(_MESSAGES, key=lambda name: name.count(".")):
        outer, _, own = name.rpartition(".")
        made[name] = made[outer].nested_type.add(name=own) if outer else file.message_type.add(name=own)
        for text in _MESSAGES[name]:
            _add(made[name], name, text)
    for name, values in _ENUMS.items():
        outer, _, own = name.rpartition(".")
        enum = (made[outer] if outer else file).enum_type.add(name=own)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    return file


def _add(message: Any, owner: str, text: str) -> None:
    *marks, kind, name, number = text.split()
    mark = marks[0] if marks else ""
    repeated = mark in ("repeated", "map")
    field = message.field.add(
        name=name, number=int(number), label=_Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    )
    if mark == "map":
        entry = message.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        _add(entry, owner, "string key 1")
        _add(entry, owner, f"{kind} value 2")
        kind = f"{owner}.{entry.name}"
    elif mark == "choice":
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    if kind in _SCALARS:
        field.type = getattr(_Field, f"TYPE_{kind.upper()}")
    else:
        field.type = _Field.TYPE_ENUM if mark == "enum" else _Field.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind}"


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())


def _made(name: str) -> Any:
    made = message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))
    made.__module__ = __name__  # where unpickling finds it: Ray's proxy hands messages to replicas
    return made


globals().update({name: _made(name) for name in _MESSAGES if "." not in name})


def __getattr__(name: str) -> Any:
    """Only for what there is not: type checkers learn here that attributes are messages."""
    raise AttributeError(f"module {__name__!r} has no message {name!r}")
