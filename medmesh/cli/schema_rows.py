"""What the commands of `medmesh schema` print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from medmesh.cli.output import Exit, emit, finish

if TYPE_CHECKING:
    from bus.catalogue import Believed, Plan
    from schemas.registry.closures import Closure
    from schemas.registry.models import Binding

_SHORT: Final = 16


def row(believed: Believed) -> dict[str, object]:
    """A binding for machines."""
    revision = believed.revision
    binding = revision.binding
    table: dict[str, object] = {
        "pattern": binding.pattern,
        "kind": binding.kind.value,
        "content_types": list(binding.content_types),
        "check": binding.depth.value,
        "compatibility": binding.compatibility.value,
        "codecs": list(binding.codecs),
        "protected": binding.is_protected,
        "version": revision.version,
        "written_ms": revision.written_ms,
        "writer": believed.writer,
    }
    if binding.message:
        table |= {
            "message": binding.message,
            "schema": binding.schema,
            "former": list(binding.former),
        }
    if binding.release:
        table |= {"release": binding.release, "resources": list(binding.resources)}
    if binding.answer_types:
        table |= {"answer_types": list(binding.answer_types), "answer": binding.answer_message}
    if binding.description:
        table["description"] = binding.description
    return table


def what(binding: Binding) -> str:
    """What a binding takes, and how it is held to it."""
    from schemas.registry.checks import expectation

    answers = binding.of_answers()
    answered = f" -> {expectation(answers)}" if answers is not None else ""
    schema = f" sha256.{binding.schema[:_SHORT]}" if binding.schema else ""
    return f"{expectation(binding)}{answered}{schema}, {binding.compatibility.value}, check {binding.depth.value}"


def report_plan(plan: Plan, *, as_json: bool) -> None:
    """What a push would do; ends with a failure where its compatibility does not allow it."""
    if as_json:
        emit(
            {
                "compatible": not plan.findings,
                "findings": list(plan.findings),
                "compatibility": plan.binding.compatibility.value,
                "version": plan.version,
                "changes": plan.is_change,
                "compared_with": plan.schemas_checked,
            }
        )
    elif plan.findings:
        click.echo("\n".join(plan.findings))
    else:
        mode = plan.binding.compatibility.value
        click.echo(
            f"{plan.binding.pattern}: would be version {plan.version}; compatibility {mode} holds against "
            f"{plan.schemas_checked} former schemas"
        )
    if plan.findings:
        finish(Exit.FAILURE)


def print_proto(closure: Closure | None) -> None:
    """A schema as text, file by file."""
    from schemas.registry.prototext import proto_text

    if closure is None:
        click.echo("medmesh: this binding names no protobuf schema", err=True)
        finish(Exit.NOT_FOUND)
    for file in closure.files.file:
        click.echo(f"// {file.name}\n{proto_text(file)}")


__all__ = ["print_proto", "report_plan", "row", "what"]
