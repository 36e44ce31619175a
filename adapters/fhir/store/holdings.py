"""What a store is made of, and how it judges what it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from adapters.fhir.judge import Finding
from adapters.fhir.store.changing import Changer
from adapters.fhir.store.checking import check
from adapters.fhir.store.cursors import Cursors
from adapters.fhir.store.engine import Engine
from adapters.fhir.store.extraction import extract
from adapters.fhir.store.limits import Limits
from adapters.fhir.store.permits import Permit
from adapters.fhir.store.refusals import Issue, Refusal
from adapters.fhir.store.repository import Prepared, Repository, Version
from adapters.fhir.validation import Validator
from schemas.clock import Clock
from schemas.fhir.release import Release
from schemas.fhir.searching import Parameters

LARGE_BYTES: Final = 64 * 1024
"""Bodies beyond that are judged beside the event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """What interactions are answered with."""

    engine: Engine
    repository: Repository
    parameters: Parameters
    cursors: Cursors
    clock: Clock
    limits: Limits
    types: frozenset[str]
    """Types of resource that it owns."""
    count: Callable[[str, str], None]
    """Counts an event of this adapter with a reason."""
    validator: Validator
    """Judges beyond the structure, as far as it is configured."""

    @property
    def release(self) -> Release:
        """The release of FHIR that it speaks."""
        return self.parameters.release

    def prepare(self, body: bytes, resource_type: str, base: str) -> Prepared:
        """Judge a body and read what it is found by. Raises `Refusal`."""
        checked = check(
            body, self.release, resource_type=resource_type, max_bytes=self.limits.body_bytes
        )
        self.check_type(checked.resource_type)
        rows = extract(checked.resource, self.parameters, base=base)
        if rows.is_cut:
            self.count("index_cut", checked.resource_type)
        return Prepared(checked, rows)

    def check_type(self, resource_type: str) -> None:
        """Raises `Refusal` (404) for a type that is not held here."""
        if resource_type not in self.types:
            raise Refusal(404, "not-supported", f"{resource_type} is not held here")

    def may_show(self, permit: Permit, version: Version) -> bool:
        """Whether an older version lies in the requester's compartment: it may have been about someone else."""
        if not permit.patient:
            return True
        checked = check(version.body, self.release, max_bytes=1 << 40)
        try:
            permit.check_content(
                Prepared(checked, extract(checked.resource, self.parameters)), version.id
            )
        except Refusal:
            return permit.is_open(version.resource_type)
        return True

    @property
    def changer(self) -> Changer:
        """Carries out changes."""
        return Changer(repository=self.repository, parameters=self.parameters, prepare=self.prepare)

    async def judged(self, body: bytes, resource_type: str, base: str) -> Prepared:
        """As `prepare`, with validation as it is configured, and beside the event loop for large bodies."""
        if len(body) > LARGE_BYTES:
            prepared = await asyncio.to_thread(self.prepare, body, resource_type, base)
        else:
            prepared = self.prepare(body, resource_type, base)
        await self.validate(body)
        return prepared

    async def validate(self, body: bytes) -> None:
        """Raises `Refusal` (422) for what `[adapter.validation]` with mode = "on" finds, and `ValidationFailed`."""
        findings = await self.validator.findings(body)
        if findings:
            issues = [_issue(one) for one in findings]
            raise Refusal(422, "invalid", "the resource is not valid", issues=issues)


def _issue(finding: Finding) -> Issue:
    return Issue(
        code="required" if finding.code == "missing" else "invalid",
        text=f"the model of the type does not allow that: {finding.code}",
        expression=finding.path,
    )


__all__ = ["LARGE_BYTES", "Store"]
