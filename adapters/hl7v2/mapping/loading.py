"""Load tables: files of all layers to one set of documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from adapters.hl7v2.mapping.codetables import CodeTableBuilder
from adapters.hl7v2.mapping.documents import read_document
from adapters.hl7v2.mapping.errors import TablesError, nearest
from adapters.hl7v2.mapping.layers import Layer, fingerprint
from adapters.hl7v2.mapping.messages import change_resources, read_message
from adapters.hl7v2.mapping.model import Document, MessageDocument, Place, ResourceRule, Tables
from adapters.hl7v2.mapping.protocol import Json
from adapters.hl7v2.mapping.reading import read_yaml


def load_tables(layers: Iterable[Layer | str] = ("std",)) -> Tables:
    """Load layers, the first being the ground. A text names a layer that ships with medmesh.

    Raises `TablesError`, which names layer, file, document, rule and key.
    """
    found = [Layer.package(one) if isinstance(one, str) else one for one in layers]
    names = [layer.name for layer in found]
    if len(set(names)) != len(names):
        raise TablesError(f"two layers have the same name: {', '.join(names)}")
    loader = _Loader()
    for layer in found:
        layer.check()
        loader.add(layer)
    return Tables(
        version=fingerprint(found),
        layers=tuple(names),
        messages=loader.message_documents(),
        segments=loader.segments,
        datatypes=loader.datatypes,
        codes={name: builder.build() for name, builder in loader.codes.items()},
    )


class _Loader:
    def __init__(self) -> None:
        self.segments: dict[str, Document] = {}
        self.datatypes: dict[str, Document] = {}
        self.codes: dict[str, CodeTableBuilder] = {}
        self._messages: dict[str, MessageDocument] = {}
        self._changes: dict[str, list[tuple[Json, Place]]] = {}

    def add(self, layer: Layer) -> None:
        """Lay a layer over the earlier ones."""
        seen: set[str] = set()
        for file in sorted(layer.files):
            place = Place(layer=layer.name, file=file)
            folder = file.partition("/")[0]
            if folder == "codes":
                name = file.rpartition("/")[2].removesuffix(".csv")
                self._once(f"code table {name}", seen, place)
                self.codes.setdefault(name, CodeTableBuilder(name)).add(layer.files[file], place)
                continue
            for value in read_yaml(layer.files[file], place):
                self._once(self._document(folder, value, place), seen, place)

    def _document(self, folder: str, value: Json, place: Place) -> str:
        key = folder.removesuffix("s")
        if not isinstance(value, dict) or key not in value:
            raise TablesError(f"{place}: a document in {folder} starts with the key '{key}:'")
        if folder == "messages":
            message = read_message(value, place, self._messages)
            self._messages[message.name] = message
            self._changes.setdefault(message.name, []).append((value, place))
            return f"message {message.name}"
        known = self.segments if folder == "segments" else self.datatypes
        document = read_document(value, place, known)
        known[document.name] = document
        return f"{folder} {document.name}"

    def _once(self, name: str, seen: set[str], place: Place) -> None:
        if name in seen:
            raise TablesError(f"{place}: {name} stands twice in the layer")
        seen.add(name)

    def message_documents(self) -> dict[str, MessageDocument]:
        """The message documents with all their resources, those of `like` included."""
        resolved: dict[str, MessageDocument] = {}
        for name in self._messages:
            self._resolve(name, resolved, ())
        return resolved

    def _resolve(
        self, name: str, resolved: dict[str, MessageDocument], asked: Sequence[str]
    ) -> MessageDocument:
        if name in resolved:
            return resolved[name]
        message = self._messages[name]
        resources: Mapping[str, ResourceRule] = {}
        if message.like:
            if message.like not in self._messages:
                hint = nearest(message.like, self._messages)
                raise TablesError(
                    f"{message.place}: {name}: like: {message.like!r} is unknown{hint}"
                )
            if message.like in (*asked, name):
                raise TablesError(f"{message.place}: {name}: like: a circle of documents")
            base = self._resolve(message.like, resolved, (*asked, name))
            resources = base.resources
            message = replace(
                message, type=message.type or base.type, bundle=message.bundle or base.bundle
            )
        for value, place in self._changes[name]:
            resources = change_resources(value, place, resources)
        resolved[name] = replace(message, resources=resources)
        return resolved[name]


__all__ = ["load_tables"]
