"""Write docs/configuration.md from the configuration models; with --check, fail when the page is stale."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path

from pydantic import BaseModel, ByteSize
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from adapters.fhir import CLIENT, RECEIVER, STORE
from adapters.files import READER, WRITER
from adapters.hl7v2 import FROM_FHIR, MLLP_CLIENT, MLLP_SERVER, TO_FHIR
from medmesh.config.problems import model_in
from schemas.config import SiteConfig

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
KINDS = (MLLP_SERVER, MLLP_CLIENT, TO_FHIR, FROM_FHIR, WRITER, READER, CLIENT, RECEIVER, STORE)

HEAD = """# Every key of `mesh.toml`

Written by `scripts/document_configuration.py` from the models that check the file.

Precedence: flags, then `MEDMESH_*` in the environment (`MEDMESH_MESH__SITE=south`: two underscores a dot), then
`./mesh.toml`, then these defaults. An unknown key stops the start and names the nearest known one; so does a wrong
value, with its path and what is allowed. `medmesh config show --origin` says where each value came from.
"""


def default_of(field: FieldInfo) -> str:
    """A field's default as TOML would write it."""
    if field.is_required():
        return "*required*"
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined:
        return "-"
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, ByteSize):
        return f'`"{value.human_readable()}"`'
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    if isinstance(value, dict):
        return f"`{value}`"
    return f"`{value}`" if isinstance(value, int | float) else f'`"{value}"`'


def sections(model: type[BaseModel], prefix: str) -> list[str]:
    """A table for the fields of a model, then one for each table inside it."""
    rows, inner = [], []
    for name, field in model.model_fields.items():
        nested = [
            kind
            for kind in (field.annotation, *getattr(field.annotation, "__args__", ()))
            if is_model(kind)
        ]
        if nested:
            inner += [
                f"\n### `[{prefix}.{name}]`\n",
                nested[0].__doc__ or "",
                *sections(nested[0], f"{prefix}.{name}"),
            ]
            continue
        rows.append(f"| `{name}` | {default_of(field)} | {field.description or ''} |")
    return ["", "| key | default | meaning |", "|---|---|---|", *rows, *inner] if rows else inner


def is_model(kind: object) -> bool:
    """Whether an annotation is a table of its own."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for name, field in SiteConfig.model_fields.items():
        section = model_in(field.annotation)
        assert section is not None
        lines += [
            f"## `[{name}]`",
            "",
            (section.__doc__ or "").strip(),
            *sections(section, name),
            "",
        ]
    for kind in KINDS:
        summary = kind.summary[:1].upper() + kind.summary[1:].rstrip(".") + "."
        lines += [
            f'## `[[adapter]]` with `kind = "{kind.kind}"`',
            "",
            summary,
            *sections(kind.config, "adapter"),
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Write the page, or compare it."""
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
            raise SystemExit("docs/configuration.md is stale: run `make generate`")
        return
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
