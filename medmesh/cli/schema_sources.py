"""What `medmesh schema push` and `check` take: descriptor sets, `.proto` text, samples of content."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

_SETS: Final = (".binpb", ".pb", ".fds", ".desc", ".protoset", ".bin")
_COMPILE_S: Final = 120.0
_LINES: Final = 6
_NO_COMPILER: Final = (
    "{path} is protobuf text, and no compiler is installed here. Either `pip install grpcio-tools`, or build a "
    "descriptor set and push that: `buf build -o schema.binpb`, or "
    "`protoc --include_imports --descriptor_set_out=schema.binpb -I FOLDER FILES`"
)


def is_schema(path: Path) -> bool:
    """Whether a file or folder holds a protobuf schema."""
    return path.is_dir() or path.suffix == ".proto" or path.suffix in _SETS


def read_schema(path: Path, *, root: Path | None = None) -> FileDescriptorSet:
    """The descriptor set of a file, or of a folder of `.proto` files. Raises `SchemaError`."""
    from schemas.registry.closures import read_set
    from schemas.registry.errors import SchemaError

    try:
        if not path.is_dir() and path.suffix != ".proto":
            return read_set(path.read_bytes())
        files = sorted(path.rglob("*.proto")) if path.is_dir() else [path]
    except OSError as error:
        raise SchemaError(f"{path} cannot be read: {error.strerror}") from error
    if not files:
        raise SchemaError(f"{path} holds no .proto file")
    return read_set(_compiled(path, files, root or (path if path.is_dir() else path.parent)))


def _compiled(path: Path, files: list[Path], root: Path) -> bytes:
    from schemas.registry.errors import SchemaError

    if find_spec("grpc_tools") is None:
        raise SchemaError(_NO_COMPILER.format(path=path))
    with tempfile.TemporaryDirectory(prefix="medmesh-schema-") as folder:
        target = Path(folder) / "set.binpb"
        command = [
            sys.executable, "-m", "grpc_tools.protoc", f"-I{root}", "--include_imports",
            f"--descriptor_set_out={target}", *map(str, files),
        ]  # fmt: skip
        done = subprocess.run(  # noqa: S603 -- our own interpreter; the paths are the user's own
            command, capture_output=True, text=True, timeout=_COMPILE_S, check=False
        )
        if done.returncode != 0:
            words = "\n".join(done.stderr.strip().splitlines()[:_LINES])
            raise SchemaError(f"{path} does not compile:\n{words}")
        return target.read_bytes()


def content_type_of(path: Path, body: bytes) -> str:
    """What the content of a sample is, by its name and its beginning; empty where it cannot be told."""
    from schemas.registry.peeks import hl7_type, resource_type

    found = hl7_type(body)
    if found:
        return found
    if path.suffix == ".json":
        return "application/fhir+json" if resource_type(body) else "application/json"
    return ""


__all__ = ["content_type_of", "is_schema", "read_schema"]
