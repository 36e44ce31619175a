"""An AsyncAPI 3.0 document of what is bound: channels are subjects, messages what they carry.

Source: AsyncAPI 3.0.0, NATS bindings 0.1.0. The same bindings give the same document: it holds no time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from schemas.registry.closures import Closure, messages_of
from schemas.registry.models import Binding, Kind
from schemas.registry.patterns import is_of_calls
from schemas.registry.prototext import proto_text

Json = dict[str, object]
_PROTOBUF: Final = "application/vnd.google.protobuf;version=3"
_NATS: Final[Json] = {"nats": {"bindingVersion": "0.1.0"}}
_NOT_NAMED: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_EVENT_TOKENS: Final = 5
_SERVICE: Final = 2
_SEALED: Final = "What travels is a sealed envelope (medmesh.envelope.v1.Envelope); payloads are what its readers get."


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What the document says of the mesh itself."""

    title: str
    host: str
    """`host:port` of a server of the carrier."""
    version: str = "1.0.0"
    is_tls: bool = False


def document(bindings: Iterable[Binding], closures: Mapping[str, Closure], origin: Origin) -> Json:
    """The document; `closures` are those of protobuf bindings by their hash, as far as they are at hand."""
    channels: Json = {}
    operations: Json = {}
    messages: Json = {}
    files: Json = {}
    for binding in sorted(bindings, key=lambda one: one.pattern):
        closure = closures.get(binding.schema)
        channel = _name(binding.pattern)
        if closure is not None:
            files |= _files(closure)
        listed: Json = {
            f"{channel}.{name}": message for name, message in _messages(binding, closure).items()
        }
        messages |= listed
        channels[channel] = _channel(binding, listed)
        told: Json = {"channel": {"$ref": f"#/channels/{channel}"}, "bindings": _NATS}
        receives, sends = "receive", "send"
        if is_of_calls(binding.pattern):
            receives, sends = "serve", "call"
            answers = _answers(binding, closure, channel)
            if answers:
                messages |= answers
                channels[f"{channel}.answers"] = _reply_channel(answers)
                told["reply"] = {"channel": {"$ref": f"#/channels/{channel}.answers"}}
        operations[f"{receives}.{channel}"] = {"action": "receive", **told}
        operations[f"{sends}.{channel}"] = {"action": "send", **told}
    components: Json = {"messages": messages}
    if files:
        components["schemas"] = files
    return {
        "asyncapi": "3.0.0",
        "info": {"title": origin.title, "version": origin.version, "description": _SEALED},
        "servers": {
            "mesh": {
                "host": origin.host,
                "protocol": "nats",
                "description": "TLS" if origin.is_tls else "no TLS",
            }
        },
        "channels": channels,
        "operations": operations,
        "components": components,
    }


def _answers(binding: Binding, closure: Closure | None, channel: str) -> Json:
    answers = binding.of_answers()
    if answers is None:
        return {}
    listed = _messages(answers, closure)
    return {f"{channel}.answers.{name}": message for name, message in listed.items()}


def _reply_channel(messages: Json) -> Json:
    """Where the answer to one call goes: an address of the caller's own, which travels with the request."""
    return {"address": None, "messages": _listed(messages), "bindings": _NATS}


def _listed(messages: Json) -> Json:
    return {
        _name(name.rpartition(".")[2]): {"$ref": f"#/components/messages/{name}"}
        for name in messages
    }


def _channel(binding: Binding, messages: Json) -> Json:
    address, parameters = _address(binding.pattern)
    channel: Json = {
        "address": address,
        "messages": _listed(messages),
        "bindings": _NATS,
        "x-medmesh-pattern": binding.pattern,
        "x-medmesh-kind": binding.kind.value,
        "x-medmesh-protected": binding.is_protected,
        "x-medmesh-compatibility": binding.compatibility.value,
        "x-medmesh-check": binding.depth.value,
        "x-medmesh-codecs": list(binding.codecs),
    }
    if parameters:
        channel["parameters"] = parameters
    if binding.description:
        channel["description"] = binding.description
    if binding.schema:
        channel["x-medmesh-schema"] = f"sha256:{binding.schema}"
    return channel


def _address(pattern: str) -> tuple[str, Json]:
    """The pattern with a named parameter for each wildcard: `evt.north.raw.hl7v2.{partition}`."""
    tokens = pattern.split(".")
    parameters: Json = {}
    for i, word in enumerate(tokens):
        if word == ">":
            name, words = "rest", "One or more tokens."
        elif word == "*" and is_of_calls(pattern):
            name, words = ("service", "A service.") if i == _SERVICE else ("method", "A method.")
        elif word == "*" and i == _EVENT_TOKENS - 1 and len(tokens) == _EVENT_TOKENS:
            name, words = "partition", "0 to 63: events of one patient share a partition."
        elif word == "*":
            name, words = f"token{i + 1}", "One token."
        else:
            continue
        parameters[name] = {"description": words}
        tokens[i] = f"{{{name}}}"
    return ".".join(tokens), parameters


def _messages(binding: Binding, closure: Closure | None) -> dict[str, Json]:
    match binding.kind:
        case Kind.PROTOBUF:
            name = binding.message.replace(".", "_")
            return {name: _protobuf(binding, closure)}
        case Kind.FHIR:
            return {_key(one): _fhir(binding, one) for one in binding.content_types}
        case Kind.HL7V2:
            return {_key(one): _hl7(one) for one in binding.content_types}
        case Kind.CONTENT:
            return {_key(one): {"name": one, "contentType": one} for one in binding.content_types}


def _protobuf(binding: Binding, closure: Closure | None) -> Json:
    message: Json = {"name": binding.message, "contentType": binding.content_types[0]}
    if closure is not None:
        home = next(one for one in closure.files.file if binding.message in messages_of(one))
        message["payload"] = {"$ref": f"#/components/schemas/{_name(home.name)}"}
    return message


def _files(closure: Closure) -> Json:
    return {
        _name(one.name): {"schemaFormat": _PROTOBUF, "schema": proto_text(one)}
        for one in closure.files.file
    }


def _fhir(binding: Binding, content_type: str) -> Json:
    named: Json = {"type": "string"}
    if binding.resources:
        named["enum"] = list(binding.resources)
    return {
        "name": f"FHIR {binding.release}",
        "contentType": content_type,
        "payload": {
            "type": "object",
            "required": ["resourceType"],
            "properties": {"resourceType": named},
        },
    }


def _hl7(content_type: str) -> Json:
    return {
        "name": content_type.removeprefix("hl7v2/"),
        "contentType": "x-application/hl7-v2+er7",
        "payload": {"type": "string", "description": "HL7 v2 in ER7, byte for byte as sent."},
    }


def _name(text: str) -> str:
    """A key that AsyncAPI allows: letters, digits, `_`, `-`, dots. Tokens of subjects are never in upper case."""
    return _NOT_NAMED.sub("_", text.replace("*", "ANY").replace(">", "REST"))


def _key(text: str) -> str:
    """The same without dots: the last part of a longer key."""
    return _name(text).replace(".", "_")


__all__ = ["Json", "Origin", "document"]
