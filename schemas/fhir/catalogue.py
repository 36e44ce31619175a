"""The protobuf messages of a release, loaded when they are asked for: one resource and the data types, never all files.

There are two descriptions of the same wire format. The public one is that of the `.proto` files, its fields named in
snake case. The codec's own names each field as FHIR's JSON does (`birthDate`, `_birthDate`), so that a parsed document
fits the message's constructor as it is: names are not on the wire.
"""

from __future__ import annotations

from importlib.resources import files

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from schemas.fhir.archive import DATATYPES, Archive
from schemas.fhir.errors import UnknownFhirType
from schemas.fhir.loading import LOADING, one_each
from schemas.fhir.release import Release
from schemas.fhir.shapes import BOX, SIBLING_OFFSET, Shape, shapes_of


class Catalogue:
    """The messages of one release. Threads may share it."""

    def __init__(self, release: Release) -> None:
        packed = files("schemas.fhir").joinpath("descriptors", f"{release.value.lower()}.bin")
        self.release = release
        self._archive = Archive(packed.read_bytes())
        self.resources = frozenset(self._archive.resources)
        self._files: dict[str, FileDescriptorProto] = {}
        self._shapes: dict[str, Shape] = {}
        self._public = DescriptorPool()
        self._published: set[str] = set()
        self._wire = DescriptorPool()

    def message_class(self, fhir_type: str) -> type[Message]:
        """The message of a resource type, e.g. `Patient`, as the `.proto` files describe it.

        Messages of data types hang together with it: `patient.name.add(family="Chalmers")`.
        """
        return self._published_class(fhir_type, (DATATYPES, self._stem(fhir_type)))

    def box_class(self) -> type[Message]:
        """The message `ResourceBox`, which takes any resource: type and serialised message, or JSON."""
        return self._published_class(BOX, (DATATYPES,))

    def descriptor_set(self, fhir_type: str) -> bytes:
        """A serialised `FileDescriptorSet` with all that the message of a resource type needs."""
        stems = (DATATYPES, self._stem(fhir_type))
        return FileDescriptorSet(file=map(self._file, stems)).SerializeToString(deterministic=True)

    def wire_class(self, name: str) -> type[Message]:
        """The codec's own class of a resource type or of a type that `shape` has named; its fields are FHIR's keys."""
        self.shape(name)
        return GetMessageClass(self._wire.FindMessageTypeByName(self.release.message_type(name)))

    def shape(self, name: str) -> Shape:
        """How a resource type, or a type that another shape has named, is carried."""
        if name not in self._shapes:
            self._file(DATATYPES)
            if name not in self._shapes:
                self._file(self._stem(name))
        return self._shapes[name]

    def _published_class(self, name: str, stems: tuple[str, ...]) -> type[Message]:
        with LOADING:
            for stem in stems:
                if stem not in self._published:
                    self._public.AddSerializedFile(self._file(stem).SerializeToString())
                    self._published.add(stem)
        full_name = self.release.message_type(name)
        return GetMessageClass(self._public.FindMessageTypeByName(full_name))

    def _stem(self, fhir_type: str) -> str:
        stem = self._archive.resources.get(fhir_type)
        if stem is None:
            raise UnknownFhirType(f"FHIR {self.release.value} has no such resource type")
        return stem

    def _file(self, stem: str) -> FileDescriptorProto:
        with LOADING:
            file = self._files.get(stem)
            if file is None:
                if stem != DATATYPES:
                    self._file(DATATYPES)
                part = self._archive.part(stem)
                file = FileDescriptorProto.FromString(part.descriptor)
                self._wire.AddSerializedFile(_named_as_json(file).SerializeToString())
                self._shapes.update(shapes_of(file, part.decimals))
                self._files[stem] = file
            return file


def _named_as_json(file: FileDescriptorProto) -> FileDescriptorProto:
    """A copy whose fields are named by FHIR's keys; oneofs, which would collide with `_key`, by their place."""
    copy = FileDescriptorProto()
    copy.CopyFrom(file)
    for message in copy.message_type:
        keys = {field.number: field.json_name for field in message.field}
        for field in message.field:
            if field.number > SIBLING_OFFSET:
                field.name = "_" + keys[field.number - SIBLING_OFFSET]
            elif field.json_name:
                field.name = field.json_name
            field.ClearField("json_name")
        for place, oneof in enumerate(message.oneof_decl):
            oneof.name = f"presence_{place}"
    return copy


@one_each
def catalogue(release: Release) -> Catalogue:
    """The one catalogue of a release in this process."""
    return Catalogue(release)


__all__ = ["Catalogue", "catalogue"]
