"""Load tables of the way to HL7 v2: files of all layers to one set of documents."""

from __future__ import annotations

from collections.abc import Iterable

from adapters.hl7v2.mapping.codetables import CodeTableBuilder
from adapters.hl7v2.mapping.errors import TablesError
from adapters.hl7v2.mapping.layers import Layer, fingerprint
from adapters.hl7v2.mapping.model import Place
from adapters.hl7v2.mapping.protocol import Json
from adapters.hl7v2.mapping.reading import read_yaml
from adapters.hl7v2.reverse.documents import read_document
from adapters.hl7v2.reverse.messages import read_message
from adapters.hl7v2.reverse.model import Document, MessageDocument, ReverseTables

STANDARD = "to-v2"
"""The layer that ships with medmesh."""


def load_reverse_tables(layers: Iterable[Layer | str] = (STANDARD,)) -> ReverseTables:
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
    return ReverseTables(
        version=fingerprint(found),
        layers=tuple(names),
        messages=loader.messages,
        documents=loader.documents,
        codes={name: builder.build() for name, builder in loader.codes.items()},
    )


class _Loader:
    def __init__(self) -> None:
        self.messages: dict[str, MessageDocument] = {}
        self.documents: dict[str, Document] = {}
        self.codes: dict[str, CodeTableBuilder] = {}

    def add(self, layer: Layer) -> None:
        """Lay a layer over the earlier ones."""
        seen: set[str] = set()
        for file in sorted(layer.files):
            place = Place(layer=layer.name, file=file)
            folder = file.partition("/")[0]
            if folder == "codes":
                name = file.rpartition("/")[2].removesuffix(".csv")
                _once(f"code table {name}", seen, place)
                self.codes.setdefault(name, CodeTableBuilder(name)).add(layer.files[file], place)
                continue
            for value in read_yaml(layer.files[file], place):
                _once(self._document(folder, value, place), seen, place)

    def _document(self, folder: str, value: Json, place: Place) -> str:
        key = folder.removesuffix("s")
        if not isinstance(value, dict) or key not in value:
            raise TablesError(f"{place}: a document in {folder} starts with the key '{key}:'")
        if folder == "messages":
            earlier = self.messages.get(str(value["message"]))
            message = read_message(value, place, earlier)
            self.messages[message.name] = message
            return f"message {message.name}"
        document = read_document(value, place, self.documents)
        self.documents[document.name] = document
        return f"document {document.name}"


def _once(name: str, seen: set[str], place: Place) -> None:
    if name in seen:
        raise TablesError(f"{place}: {name} stands twice in the layer")
    seen.add(name)


__all__ = ["STANDARD", "load_reverse_tables"]
