"""Generate what schemas/fhir ships of FHIR's definitions: `.proto` files and descriptor archives.

python scripts/generate_fhir.py                      from the models and locks in schemas/fhir/definitions
python scripts/generate_fhir.py --check              compare instead, and fail on any difference
python scripts/generate_fhir.py --models             first read R4B and R5 from fhir.resources again
python scripts/generate_fhir.py --r4 FOLDER          first read R4 from HL7's StructureDefinitions (JSON) again
python scripts/generate_fhir.py --baseline           make the present schemas what `buf breaking` compares with
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import shutil
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from google.protobuf.descriptor_pb2 import FileDescriptorProto  # noqa: E402
from pydantic import BaseModel  # noqa: E402
from pydantic.fields import FieldInfo  # noqa: E402

from schemas.fhir.archive import Archive, Part, pack  # noqa: E402
from schemas.fhir.generation.definitions import model_of  # noqa: E402
from schemas.fhir.generation.descriptors import descriptors  # noqa: E402
from schemas.fhir.generation.layout import snake  # noqa: E402
from schemas.fhir.generation.model import PRIMITIVES, Field, Model  # noqa: E402
from schemas.fhir.generation.numbers import (  # noqa: E402
    Lock,
    extended,
    lock_from_json,
    lock_to_json,
)
from schemas.fhir.generation.text import proto_text  # noqa: E402
from schemas.fhir.release import Release  # noqa: E402

FHIR = ROOT / "schemas" / "fhir"
DEFINITIONS = FHIR / "definitions"
DESCRIPTORS = FHIR / "descriptors"
PROTO = FHIR / "proto"
BASELINE = PROTO / "baseline.binpb.zst"


def model_path(release: Release) -> Path:
    return DEFINITIONS / f"{release.value.lower()}.json"


def lock_path(release: Release) -> Path:
    return DEFINITIONS / f"{release.value.lower()}.fields.lock.json"


def read_model(release: Release) -> Model:
    return Model.from_json(model_path(release).read_text())


def read_lock(release: Release) -> Lock:
    path = lock_path(release)
    return lock_from_json(path.read_text()) if path.exists() else {}


def part_of(file: FileDescriptorProto, model: Model, lock: Lock) -> Part:
    """What the archive keeps of a file."""
    decimals = {
        message.name: [
            lock[message.name].index(field.key) + 1
            for field in model.types[message.name]
            if field.type == "decimal"
        ]
        for message in file.message_type
        if message.name in model.types
    }
    return Part(
        file.SerializeToString(deterministic=True),
        {name: numbers for name, numbers in decimals.items() if numbers},
    )


def generate(release: Release) -> tuple[dict[Path, str], dict[str, Part], dict[str, str]]:
    """Path to text of each `.proto` file, the archive's parts, and the files of the resources."""
    model, lock = read_model(release), extended(read_lock(release), read_model(release))
    files = descriptors(model, lock, release.package)
    texts = {PROTO / file.name: proto_text(file) for file in files.values()}
    texts[lock_path(release)] = lock_to_json(lock)
    parts = {stem: part_of(file, model, lock) for stem, file in files.items()}
    return texts, parts, {name: snake(name) for name in model.resources}


def write(release: Release) -> None:
    texts, parts, resources = generate(release)
    shutil.rmtree(PROTO / release.package.replace(".", "/"), ignore_errors=True)
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    DESCRIPTORS.mkdir(exist_ok=True)
    (DESCRIPTORS / f"{release.value.lower()}.bin").write_bytes(pack(parts, resources))


def stale(release: Release) -> Iterator[str]:
    """What differs from what the model gives. Archives are compared unpacked: compressors may differ in their bytes."""
    texts, parts, resources = generate(release)
    for path, text in texts.items():
        if not path.exists() or path.read_text() != text:
            yield str(path.relative_to(ROOT))
    for path in (PROTO / release.package.replace(".", "/")).rglob("*.proto"):
        if path not in texts:
            yield str(path.relative_to(ROOT))
    packed = DESCRIPTORS / f"{release.value.lower()}.bin"
    archive = Archive(packed.read_bytes())
    found = {stem: archive.part(stem) for stem in archive.stems()}
    if found != parts or dict(archive.resources) != resources:
        yield str(packed.relative_to(ROOT))


# ---- the front end for the model classes of fhir.resources

_BUILTIN = {
    "bool": "boolean",
    "int": "integer",
    "Decimal": "decimal",
    "bytes": "base64Binary",
    "date": "date",
    "datetime": "dateTime",
    "time": "time",
}


def model_from_classes(package: str) -> Model:
    """The model of a release as the classes of `fhir.resources` have it."""
    base = importlib.import_module(package)
    types: dict[str, tuple[Field, ...]] = {}
    resources = set()
    for found in pkgutil.iter_modules(base.__path__):
        if found.ispkg or found.name in ("tests", "fhirtypes", "fhirtypesvalidators", "conftest"):
            continue
        module = importlib.import_module(f"{package}.{found.name}")
        for cls in vars(module).values():
            own = isinstance(cls, type) and cls.__module__ == module.__name__
            if not own or not hasattr(cls, "elements_sequence"):
                continue
            name = cls.get_resource_type()
            if name in ("Resource", "DomainResource") or name in PRIMITIVES:
                continue
            types[name] = tuple(_fields(cls, name))
            bases = {parent.__name__ for parent in cls.__mro__[1:]}
            if bases & {"Resource", "DomainResource"}:
                resources.add(name)
    return Model(_reached(types, resources), frozenset(resources))


def _reached(
    types: dict[str, tuple[Field, ...]], resources: set[str]
) -> dict[str, tuple[Field, ...]]:
    """The types that resources consist of: the library has helpers of its own among its classes."""
    wanted = {"Element", *resources}
    stack = list(wanted)
    while stack:
        new = {field.type for field in types[stack.pop()]} & types.keys() - wanted
        wanted |= new
        stack += new
    return {name: types[name] for name in sorted(wanted)}


def _fields(cls: type[BaseModel], name: str) -> Iterator[Field]:
    for attribute, field in cls.model_fields.items():
        if attribute.endswith("__ext") or attribute in ("fhir_comments", "resource_type"):
            continue
        key = field.alias or attribute
        code, repeated = _type_of(field)
        # fhir.resources 8.3 has no `_valueString` in Extension, which FHIR has
        bare = f"{attribute}__ext" not in cls.model_fields and not (
            name == "Extension" and key.startswith("value")
        )
        yield Field(key, code, repeated, bare and code in PRIMITIVES)


def _type_of(field: FieldInfo) -> tuple[str, bool]:
    """The FHIR type of a pydantic field, and whether it is a list."""
    stack: list[tuple[object, tuple[object, ...]]] = [(field.annotation, tuple(field.metadata))]
    repeated = False
    while stack:
        annotation, metadata = stack.pop()
        if typing.get_origin(annotation) is typing.Annotated:
            plain, *marks = typing.get_args(annotation)
            stack.append((plain, (*marks, *metadata)))
            continue
        repeated = repeated or typing.get_origin(annotation) is list
        arguments = [a for a in typing.get_args(annotation) if a is not type(None)]
        if not arguments:
            return _code(annotation, metadata), repeated
        stack.extend((argument, metadata) for argument in reversed(arguments))
    raise ValueError("a field without a type")


def _code(annotation: object, metadata: tuple[object, ...]) -> str:
    code = ""
    for mark in metadata:
        name = type(mark).__name__
        lowered = name[0].lower() + name[1:]
        code = lowered if lowered in PRIMITIVES else code
        code = getattr(mark, "__visit_name__", code)
    name = getattr(annotation, "__name__", str(annotation))
    if not code and name.endswith("Type"):
        return name.removesuffix("Type")
    return code or _BUILTIN.get(name, "string")


# ---- command line


def refresh_r4(folder: Path) -> None:
    """Types that the folder defines replace those of the model; it may hold only some of them."""
    read = model_of(json.loads(path.read_text()) for path in folder.glob("StructureDefinition-*"))
    old = read_model(Release.R4)
    merged = Model({**old.types, **read.types}, old.resources | read.resources)
    model_path(Release.R4).write_text(merged.to_json())


def refresh_models() -> None:
    for release, package in (
        (Release.R4B, "fhir.resources.R4B"),
        (Release.R5, "fhir.resources"),
    ):
        model_path(release).write_text(model_from_classes(package).to_json())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--models", action="store_true")
    parser.add_argument("--r4", type=Path, metavar="FOLDER")
    parser.add_argument("--baseline", action="store_true")
    options = parser.parse_args()
    if options.check:
        changed = [name for release in Release for name in stale(release)]
        if changed:
            raise SystemExit(
                f"schemas/fhir is stale, run scripts/generate_fhir.py: {', '.join(changed)}"
            )
        return
    if options.r4:
        refresh_r4(options.r4)
    if options.models:
        refresh_models()
    for release in Release:
        write(release)
    if options.baseline:
        subprocess.run(
            ["buf", "build", "--exclude-source-info", "-o", str(BASELINE)], cwd=PROTO, check=True
        )


if __name__ == "__main__":
    main()
