"""What the process that validates does: resources in, findings out, one at a time.

It is a process of its own because a validation holds the interpreter for up to a tenth of a second for each 90 kB, and
because one that never ends can be killed. Findings are places and codes; no value of a resource leaves it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, BinaryIO, Final, cast

import msgspec

from adapters.fhir.codec.errors import UnreadableResource
from adapters.fhir.codec.partial import read_bundle, read_head, resources_of

LENGTH_BYTES: Final = 4
MAX_FINDINGS: Final = 20
DIFFERS_IN_R4B: Final = frozenset(
    {
        # changed between R4 and R4B (hl7.org/fhir/R4B/history.html)
        "Evidence", "EvidenceVariable", "EvidenceReport", "ResearchDefinition", "ResearchElementDefinition",
        "DeviceDefinition",
        # in R4 alone
        "EffectEvidenceSynthesis", "RiskEvidenceSynthesis", "MedicinalProduct", "MedicinalProductAuthorization",
        "MedicinalProductContraindication", "MedicinalProductIndication", "MedicinalProductIngredient",
        "MedicinalProductInteraction", "MedicinalProductManufactured", "MedicinalProductPackaged",
        "MedicinalProductPharmaceutical", "MedicinalProductUndesirableEffect", "SubstanceNucleicAcid",
        "SubstancePolymer", "SubstanceProtein", "SubstanceReferenceInformation", "SubstanceSourceMaterial",
        "SubstanceSpecification",
    }
)  # fmt: skip
"""Resources of R4 for which `fhir.resources`, which has no R4, has no true model: they are not validated."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
_UNNAMED: Final = ("extra_forbidden", "value_error.extra")


class Finding(msgspec.Struct, frozen=True, array_like=True):
    """One fault: where, as a FHIRPath-like place without values, and what, as a code of pydantic's."""

    path: str
    code: str


class Report(msgspec.Struct, frozen=True):
    """What came of one resource."""

    findings: tuple[Finding, ...] = ()
    skipped: bool = False
    """There is no true model of this resource."""


GetModel = Callable[[str], Any]
"""A model class by the name of the resource; raises `ValueError` for one that there is none of."""


def judge(body: bytes, release: str, get_model: GetModel) -> Report:
    """Validate one resource, and each one inside a bundle."""
    try:
        head = read_head(body)
        if release == "R4" and head.resource_type in DIFFERS_IN_R4B:
            return Report(skipped=True)
        if release == "R4" and head.resource_type == "Bundle" and _has_differing(body):
            return _piecewise(body, release, get_model)
    except UnreadableResource as error:
        return Report(findings=(Finding("", error.code),))
    return _whole(body, head.resource_type, get_model)


def _has_differing(body: bytes) -> bool:
    return any(
        read_head(one).resource_type in DIFFERS_IN_R4B for one in resources_of(read_bundle(body))
    )


def _piecewise(body: bytes, release: str, get_model: GetModel) -> Report:
    """A bundle with resources that have no true model: the others one by one, the bundle's own elements not at all."""
    findings: list[Finding] = []
    for number, one in enumerate(resources_of(read_bundle(body))):
        report = judge(one, release, get_model)
        findings += [
            Finding(f"Bundle.entry[{number}].resource.{f.path}", f.code) for f in report.findings
        ]
    return Report(findings=tuple(findings[:MAX_FINDINGS]), skipped=True)


def _whole(body: bytes, name: str, get_model: GetModel) -> Report:
    from pydantic import ValidationError  # noqa: PLC0415 (a second of imports, paid by the process when it starts)

    try:
        model = get_model(name)
    except ValueError:
        return Report(findings=(Finding("resourceType", "unknown_resource"),))
    try:
        model.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        return Report(
            findings=tuple(
                Finding(_place(name, one["loc"], one["type"]), _code(one["type"]))
                for one in found[:MAX_FINDINGS]
            )
        )
    except RecursionError:
        return Report(findings=(Finding(name, "too_deep"),))
    return Report()


def _place(name: str, location: tuple[int | str, ...], kind: str) -> str:
    """`Patient.name[0].family`. A key that the sender made up is `?`: it may be anything."""
    text = name
    steps = list(location)
    if kind in _UNNAMED and steps:
        steps[-1] = "?"
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step if _NAME.match(step) else '?'}"
    return text


def _code(kind: str) -> str:
    return kind if _NAME.match(kind.replace(".", "_")) else "invalid"


def models_of(release: str) -> GetModel:
    """The models of a release; R4 has none of its own there and takes those of R4B. Imports for half a second."""
    if release == "R5":
        from fhir.resources import get_fhir_model_class as of_r5  # noqa: PLC0415

        return cast("GetModel", of_r5)
    from fhir.resources.R4B import get_fhir_model_class as of_r4b  # noqa: PLC0415

    return cast("GetModel", of_r4b)


def serve(source: BinaryIO, sink: BinaryIO, release: str) -> None:
    """Answer until the input ends."""
    get_model = models_of(release)
    while True:
        head = source.read(LENGTH_BYTES)
        if len(head) < LENGTH_BYTES:
            return
        body = source.read(int.from_bytes(head, "big"))
        answer = msgspec.json.encode(judge(body, release, get_model))
        sink.write(len(answer).to_bytes(LENGTH_BYTES, "big") + answer)
        sink.flush()


__all__ = [
    "DIFFERS_IN_R4B",
    "LENGTH_BYTES",
    "Finding",
    "GetModel",
    "Report",
    "judge",
    "models_of",
    "serve",
]
