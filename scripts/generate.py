"""Generate schemas/generated from schemas/proto; with --check, compare instead and fail on any difference."""

from __future__ import annotations

import filecmp
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "schemas" / "proto"
GENERATED = ROOT / "schemas" / "generated"


def generate(target: Path) -> None:
    """Write *_pb2.py and *_pb2.pyi for every schema below `target`, with the package files that imports need."""
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    code = protoc.main(
        ["protoc", f"-I{PROTO}", f"--python_out={target}", f"--mypy_out=quiet:{target}", *sources]
    )
    if code:
        raise SystemExit(f"protoc failed with status {code}")
    for folder in {target, *(path.parent for path in target.rglob("*_pb2.py"))}:
        for package in (folder, *folder.parents):
            if package == target.parent:
                break
            (package / "__init__.py").write_text(
                '"""Generated from schemas/proto by scripts/generate.py."""\n'
            )


def differences(expected: Path, found: Path) -> list[str]:
    """Relative paths that differ between two folders, caches left out."""
    names = {
        str(path.relative_to(folder))
        for folder in (expected, found)
        for path in folder.rglob("*.py*")
        if "__pycache__" not in path.parts
    }
    return sorted(
        name
        for name in names
        if not (expected / name).exists()
        or not (found / name).exists()
        or not filecmp.cmp(expected / name, found / name, shallow=False)
    )


def swap(fresh: Path, place: Path) -> None:
    """Put a finished folder in another's place by two renames: a failed generation never leaves half of one there."""
    old = fresh.parent / "old"
    if place.exists():
        place.rename(old)
    try:
        fresh.rename(place)
    except OSError:
        if old.exists():
            old.rename(place)
        raise


def main() -> None:
    """Generate in place, or compare with --check."""
    if "--check" in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as scratch:
            fresh = Path(scratch) / "generated"
            fresh.mkdir()
            generate(fresh)
            changed = differences(fresh, GENERATED)
        if changed:
            raise SystemExit(
                f"schemas/generated is stale, run `make generate`: {', '.join(changed)}"
            )
        return
    with tempfile.TemporaryDirectory(dir=GENERATED.parent, prefix=".generating-") as scratch:
        fresh = Path(scratch) / "generated"
        fresh.mkdir()
        generate(fresh)
        swap(fresh, GENERATED)


if __name__ == "__main__":
    main()
