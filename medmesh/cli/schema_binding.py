"""From the options of `medmesh schema push` to a binding."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from schemas.registry.closures import closure_of, messages_of
from schemas.registry.errors import SchemaError
from schemas.registry.models import Binding, Compatibility, Depth, Kind

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    from schemas.registry.closures import Closure

_DEFAULT_TYPES: Final = {
    Kind.PROTOBUF: ("application/protobuf", "application/x-protobuf"),
    Kind.FHIR: ("application/fhir+json",),
}


def wanted(
    path: Path | None, options: Mapping[str, object], held: Binding | None
) -> tuple[Binding, Closure | None]:
    """The binding that the options ask for, and the schema that it names; `held` is what is bound now.

    Raises `SchemaError`.
    """
    kind = _kind(path, options)
    content_types = _content_types(kind, options)
    closure = _closure(path, options, held) if path is not None else None
    _check_resources(str(options["release"]), _words(options["resources"]))
    message, schema = closure or ("", None)
    answer = str(options["answer"])
    answer_types = _words(options["answer_types"])
    if answer and not answer_types:
        answer_types = _DEFAULT_TYPES[Kind.PROTOBUF]
    return (
        Binding(
            pattern=str(options["pattern"]),
            kind=kind,
            content_types=content_types,
            depth=Depth(str(options["depth"])),
            compatibility=_compatibility(kind, options, held),
            codecs=_words(options["codecs"]),
            is_protected=not options["is_open"],
            description=str(options["description"]),
            message=message,
            schema=schema.schema if schema is not None else "",
            release=str(options["release"]),
            resources=_words(options["resources"]),
            answer_types=answer_types,
            answer_message=answer,
        ),
        schema,
    )


def _check_resources(release: str, names: tuple[str, ...]) -> None:
    """Refuse a resource type that the release does not have: every message would be refused. Raises `SchemaError`."""
    from schemas.fhir import Release, UnknownFhirType
    from schemas.fhir.catalogue import catalogue

    if release not in {one.value for one in Release}:
        return  # refused with the whole binding, which says what there is
    for name in names:
        try:
            catalogue(Release(release)).descriptor_set(name)
        except UnknownFhirType:
            raise SchemaError(f"FHIR {release} has no resource type {name!r}") from None


def _words(value: object) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(str, value))) if isinstance(value, tuple | list) else ()


def _kind(path: Path | None, options: Mapping[str, object]) -> Kind:
    asked = [
        kind
        for kind, is_asked in (
            (Kind.PROTOBUF, path is not None),
            (Kind.HL7V2, bool(options["hl7v2"])),
            (Kind.FHIR, bool(options["release"])),
        )
        if is_asked
    ]
    if len(asked) > 1:
        raise SchemaError("a binding is of one kind: give a schema FILE, or --hl7v2, or --fhir")
    if not asked and not options["content_types"]:
        raise SchemaError(
            "nothing to bind to: give a schema FILE, or --hl7v2, --fhir or --content-type"
        )
    return asked[0] if asked else Kind.CONTENT


def _content_types(kind: Kind, options: Mapping[str, object]) -> tuple[str, ...]:
    if kind is Kind.HL7V2:
        return tuple(f"hl7v2/{one.removeprefix('hl7v2/')}" for one in _words(options["hl7v2"]))
    return _words(options["content_types"]) or _DEFAULT_TYPES.get(kind, ())


def _compatibility(
    kind: Kind, options: Mapping[str, object], held: Binding | None
) -> Compatibility:
    if options["compatibility"]:
        return Compatibility(str(options["compatibility"]))
    if held is not None:
        return held.compatibility
    return Compatibility.BACKWARD if kind is Kind.PROTOBUF else Compatibility.NONE


def _closure(
    path: Path, options: Mapping[str, object], held: Binding | None
) -> tuple[str, Closure]:
    from medmesh.cli.schema_sources import read_schema

    root = options["root"]
    files = read_schema(path, root=root if isinstance(root, Path) else None)
    message = str(options["message"]) or (held.message if held is not None else "")
    message = message or _only_message(files)
    answer = str(options["answer"])
    return message, closure_of(files, message, *([answer] if answer else []))


def _only_message(files: FileDescriptorSet) -> str:
    imported = {name for file in files.file for name in file.dependency}
    named = [name for file in files.file if file.name not in imported for name in messages_of(file)]
    if len(named) == 1:
        return named[0]
    raise SchemaError(
        f"the schema has {len(named)} messages: name one with --message ({', '.join(named[:10])})"
    )


__all__ = ["wanted"]
