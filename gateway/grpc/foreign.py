"""The messages of gRPC's own services, health and reflection, behind types: their packages have none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from gateway.grpc.status import Status, invalid

HEALTH: Final = "grpc.health.v1.Health"
REFLECTION: Final = (
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
)
"""The same messages under two names."""


class Serving(IntEnum):
    """`grpc.health.v1.HealthCheckResponse.ServingStatus`."""

    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3


def health_service(frame: bytes) -> str:
    """The service that a HealthCheckRequest asks for; empty: all of this server. Raises `RpcFailed`."""
    try:
        return str(health_pb2.HealthCheckRequest.FromString(frame).service)
    except DecodeError:
        raise invalid("the message is no grpc.health.v1.HealthCheckRequest") from None


def health_response(status: Serving) -> bytes:
    """A HealthCheckResponse."""
    return bytes(health_pb2.HealthCheckResponse(status=status.value).SerializeToString())


def health_list(statuses: Mapping[str, Serving]) -> bytes:
    """A HealthListResponse."""
    response = health_pb2.HealthListResponse()
    for name, status in statuses.items():
        response.statuses[name].status = status.value
    return bytes(response.SerializeToString())


class Question(Enum):
    """What a reflection request asks for."""

    FILE = "file_by_filename"
    SYMBOL = "file_containing_symbol"
    EXTENSION = "file_containing_extension"
    EXTENSIONS = "all_extension_numbers_of_type"
    SERVICES = "list_services"
    NOTHING = ""


@dataclass(frozen=True, slots=True)
class Reflected:
    """One reflection request, read."""

    question: Question
    name: str
    raw: bytes


def reflected(frame: bytes) -> Reflected:
    """Read a ServerReflectionRequest. Raises `RpcFailed`."""
    try:
        request = reflection_pb2.ServerReflectionRequest.FromString(frame)
    except DecodeError:
        raise invalid("the message is no ServerReflectionRequest") from None
    question = Question(request.WhichOneof("message_request") or "")
    name = "" if question is Question.NOTHING else getattr(request, question.value)
    return Reflected(question, name if isinstance(name, str) else "", frame)


def files_response(asked: Reflected, files: Sequence[bytes]) -> bytes:
    """Files, as FileDescriptorProtos."""
    response = _response(asked)
    response.file_descriptor_response.file_descriptor_proto.extend(files)
    return bytes(response.SerializeToString())


def services_response(asked: Reflected, services: Iterable[str]) -> bytes:
    """Names of services."""
    response = _response(asked)
    listed = response.list_services_response
    listed.SetInParent()
    for name in services:
        listed.service.add().name = name
    return bytes(response.SerializeToString())


def error_response(asked: Reflected, status: Status, message: str) -> bytes:
    """A question that has no answer; the stream goes on."""
    response = _response(asked)
    response.error_response.error_code = status.value
    response.error_response.error_message = message
    return bytes(response.SerializeToString())


def _response(asked: Reflected) -> reflection_pb2.ServerReflectionResponse:
    request = reflection_pb2.ServerReflectionRequest.FromString(asked.raw)
    return reflection_pb2.ServerReflectionResponse(
        valid_host=request.host, original_request=request
    )


def own_files() -> list[descriptor_pb2.FileDescriptorProto]:
    """Descriptors of health and reflection, the latter under both of its names."""
    files = []
    for module in (health_pb2, reflection_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        files.append(file)
    return [*files, _newer(files[-1])]


def _newer(file: descriptor_pb2.FileDescriptorProto) -> descriptor_pb2.FileDescriptorProto:
    """The file of `grpc.reflection.v1`: that of v1alpha under another name."""
    newer = descriptor_pb2.FileDescriptorProto()
    newer.CopyFrom(file)
    newer.name = "grpc/reflection/v1/reflection.proto"
    newer.package = "grpc.reflection.v1"
    newer.ClearField("options")
    fields = (field for message in newer.message_type for field in message.field)
    for field in (one for one in fields if one.type_name):
        field.type_name = field.type_name.replace(".v1alpha.", ".v1.")
    for method in newer.service[0].method:
        method.input_type = method.input_type.replace(".v1alpha.", ".v1.")
        method.output_type = method.output_type.replace(".v1alpha.", ".v1.")
    return newer


__all__ = [
    "HEALTH",
    "REFLECTION",
    "Question",
    "Reflected",
    "Serving",
    "error_response",
    "files_response",
    "health_list",
    "health_response",
    "health_service",
    "own_files",
    "reflected",
    "services_response",
]
