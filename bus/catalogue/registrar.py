"""Writing bindings: checked against what is bound already, then compare-and-set, signed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from bus.catalogue.buckets import Buckets, answered, open_bindings, open_schemas
from bus.catalogue.descriptors import DescriptorStore
from bus.catalogue.seals import Believed, BindingSigner, BindingVerifier
from bus.envelope.types import Refused
from bus.transport.protocol import Entry, KeyValue, NotFound, WrongRevision
from schemas.clock import Clock
from schemas.registry.closures import Closure
from schemas.registry.compatibility import breaking, breaking_words
from schemas.registry.errors import (
    BindingConflict,
    IncompatibleSchema,
    SchemaError,
    StaleBinding,
)
from schemas.registry.models import (
    MAX_FORMER,
    Binding,
    Compatibility,
    Kind,
    Revision,
    check_binding,
)
from schemas.registry.patterns import conflicting, is_of_site, key_of, pattern_of
from schemas.subjects import SiteId


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a push would do."""

    binding: Binding
    """As it would be written, with the former schemas."""
    findings: tuple[str, ...]
    """What its compatibility mode does not allow."""
    version: int
    """The version it would get."""
    revision: int
    """Of the key, for the compare-and-set."""
    is_change: bool
    former_written_ms: int = 0
    schemas_checked: int = 0
    """Against how many former schemas it was compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Everything in the bucket of bindings."""

    bindings: tuple[Believed, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    """Key to the reason why what lies there is not believed."""


class Registrar:
    """Reads and writes the bindings of a site. Without a signer it only reads."""

    def __init__(
        self,
        *,
        site: SiteId,
        bindings: KeyValue,
        schemas: KeyValue,
        verifier: BindingVerifier,
        clock: Clock,
        signer: BindingSigner | None = None,
    ) -> None:
        self.descriptors = DescriptorStore(schemas)
        """The closures that bindings name."""
        self._site = site
        self._bindings = bindings
        self._verifier = verifier
        self._signer = signer
        self._clock = clock

    @classmethod
    async def open(
        cls,
        buckets: Buckets,
        *,
        site: SiteId,
        verifier: BindingVerifier,
        clock: Clock,
        signer: BindingSigner | None = None,
    ) -> Registrar:
        """Open the buckets, creating what is missing. Raises `MeshError`."""
        return cls(
            site=site,
            bindings=await open_bindings(buckets),
            schemas=await open_schemas(buckets),
            verifier=verifier,
            clock=clock,
            signer=signer,
        )

    async def listing(self) -> Listing:
        """Every binding, by pattern; what does not verify is named apart. Raises `MeshError`."""
        found: list[Believed] = []
        refused: dict[str, str] = {}
        for key in await answered(self._bindings.keys()):
            try:
                entry = await answered(self._bindings.get(key))
                believed = self._verifier.open(key, entry.value or b"")
            except NotFound:
                continue  # removed in between
            except Refused as error:
                refused[key] = error.reason.value
                continue
            if not believed.revision.is_removed:
                found.append(believed)
        found.sort(key=lambda one: one.revision.binding.pattern)
        return Listing(bindings=tuple(found), refused=refused)

    async def read(self, pattern: str) -> Believed:
        """The binding of a pattern. Raises `NotFound`, `Refused`."""
        believed, _ = await self._held(pattern)
        if believed is None or believed.revision.is_removed:
            raise NotFound(f"nothing is bound to {pattern}: `medmesh schema ls` lists what is")
        return believed

    async def plan(
        self, binding: Binding, closure: Closure | None, *, expect: int | None = None
    ) -> Plan:
        """What writing a binding would do. `expect`: the version that it replaces (0: none).

        Raises `SchemaError`: `BindingConflict`, `StaleBinding`, or that it is not well formed. What the mode of the new
        binding does not allow is in the plan.
        """
        self._check_site(binding)
        _check_schema(binding, closure)
        await self._check_rank(binding.pattern)
        believed, entry = await self._held(binding.pattern)
        held = believed.revision if believed is not None else None
        version = held.version if held is not None else 0
        if expect is not None and expect != version:
            raise StaleBinding(
                f"{binding.pattern} stands at version {version}, not {expect}: look at it again "
                "(`medmesh schema show`), then write anew"
            )
        former = held.binding if held is not None and not held.is_removed else None
        wanted = check_binding(_remembering(binding, former))
        findings, compared = await self._compare(wanted, former, closure)
        return Plan(
            binding=wanted,
            findings=tuple(findings),
            version=version + 1,
            revision=entry.revision if entry is not None else 0,
            is_change=wanted != former,
            former_written_ms=held.written_ms if held is not None else 0,
            schemas_checked=compared,
        )

    async def push(
        self, binding: Binding, closure: Closure | None, *, expect: int | None = None
    ) -> Believed:
        """Write a binding and the schema it names; nothing is written where nothing changes.

        Raises as `plan`, `IncompatibleSchema`, and `StaleBinding` when another writer was faster.
        """
        plan = await self.plan(binding, closure, expect=expect)
        if plan.findings:
            raise IncompatibleSchema(
                binding.pattern, plan.binding.compatibility.value, plan.findings
            )
        if closure is not None:
            await self.descriptors.put(closure)
        if not plan.is_change:
            return await self.read(binding.pattern)
        return await self._write(plan, is_removed=False)

    async def remove(self, pattern: str, *, expect: int | None = None) -> Believed:
        """Write that nothing is bound to a pattern any more. Raises `NotFound`, `StaleBinding`."""
        believed, entry = await self._held(pattern)
        if believed is None or entry is None or believed.revision.is_removed:
            raise NotFound(f"nothing is bound to {pattern}: `medmesh schema ls` lists what is")
        version = believed.revision.version
        if expect is not None and expect != version:
            raise StaleBinding(f"{pattern} stands at version {version}, not {expect}")
        plan = Plan(
            binding=believed.revision.binding,
            findings=(),
            version=version + 1,
            revision=entry.revision,
            is_change=True,
            former_written_ms=believed.revision.written_ms,
        )
        return await self._write(plan, is_removed=True)

    async def _write(self, plan: Plan, *, is_removed: bool) -> Believed:
        if self._signer is None:
            raise SchemaError("this registry was opened to read only")
        pattern = plan.binding.pattern
        revision = Revision(
            binding=plan.binding,
            version=plan.version,
            # a reader refuses what is older than what it holds, so clocks that differ must not go back
            written_ms=max(self._clock.now_ms(), plan.former_written_ms),
            is_removed=is_removed,
        )
        key, raw = key_of(pattern), self._signer.seal(revision)
        believed = self._verifier.open(key, raw)  # what nobody would believe is not written
        try:
            await answered(self._bindings.swap(key, raw, revision=plan.revision))
        except WrongRevision:
            raise StaleBinding(
                f"{pattern} was changed by somebody else at this moment: nothing was written; look at it again "
                "(`medmesh schema show`), then write anew"
            ) from None
        return believed

    async def _held(self, pattern: str) -> tuple[Believed | None, Entry | None]:
        key = key_of(pattern)
        try:
            entry = await answered(self._bindings.get(key))
        except NotFound:
            return None, None
        try:
            return self._verifier.open(key, entry.value or b""), entry
        except Refused:
            return None, entry  # whatever lies there is nobody's binding: it may be written over

    def _check_site(self, binding: Binding) -> None:
        check_binding(binding)
        if not is_of_site(self._site, binding.pattern):
            raise SchemaError(
                f"{binding.pattern!r} is not within the events of this site, and no call to its services: it must "
                f"begin with 'evt.{self._site}.' or 'svc.{self._site}.'"
            )

    async def _check_rank(self, pattern: str) -> None:
        others = []
        for key in await answered(self._bindings.keys()):
            try:
                other = pattern_of(key)
            except SchemaError:
                continue
            if conflicting(pattern, [other]):
                others.append(other)
        for other in others:
            believed, _ = await self._held(other)
            if believed is not None and not believed.revision.is_removed:
                raise BindingConflict(
                    f"{pattern} and {other}, which is bound, cover some of the same subjects and are equally "
                    "specific: make one of them narrower"
                )

    async def _compare(
        self, wanted: Binding, former: Binding | None, closure: Closure | None
    ) -> tuple[list[str], int]:
        mode = wanted.compatibility
        if former is None or mode is Compatibility.NONE:
            return [], 0
        if former.kind is not wanted.kind:
            return [f"kind changed from {former.kind} to {wanted.kind}"], 0
        findings = breaking_words(mode, former.content_types, wanted.content_types)
        findings += _answer_findings(mode, former, wanted)
        findings += _fhir_findings(mode, former, wanted)
        if wanted.kind is not Kind.PROTOBUF or closure is None:
            return findings, 0
        if former.message != wanted.message:
            findings.append(f"message type changed from {former.message} to {wanted.message}")
        for schema in wanted.former:
            earlier = await self.descriptors.get(schema)
            findings += breaking(mode, earlier.files, closure.files)
        return list(dict.fromkeys(findings)), len(wanted.former)


def _check_schema(binding: Binding, closure: Closure | None) -> None:
    if binding.kind is not Kind.PROTOBUF:
        return
    if closure is None or closure.schema != binding.schema:
        raise SchemaError(f"{binding.pattern} names another schema than the one that comes with it")
    closure.message_class(binding.message)
    if binding.answer_message:
        closure.message_class(binding.answer_message)


def _answer_findings(mode: Compatibility, former: Binding, wanted: Binding) -> list[str]:
    findings = breaking_words(mode, former.answer_types or ("*",), wanted.answer_types or ("*",))
    if former.answer_message and former.answer_message != wanted.answer_message:
        new = wanted.answer_message or "none"
        findings.append(f"message type of answers changed from {former.answer_message} to {new}")
    return findings


def _fhir_findings(mode: Compatibility, former: Binding, wanted: Binding) -> list[str]:
    if wanted.kind is not Kind.FHIR:
        return []
    findings = breaking_words(mode, former.resources or ("*",), wanted.resources or ("*",))
    if former.release != wanted.release:
        findings.append(f"FHIR release changed from {former.release} to {wanted.release}")
    return findings


def _remembering(binding: Binding, held: Binding | None) -> Binding:
    """The binding with the schemas that it named before, the newest last."""
    if binding.kind is not Kind.PROTOBUF or held is None or held.kind is not Kind.PROTOBUF:
        return binding
    if held.schema == binding.schema:
        return replace(binding, former=held.former)
    former = [one for one in (*held.former, held.schema) if one != binding.schema]
    return replace(binding, former=tuple(former[-MAX_FORMER:]))


__all__ = ["Listing", "Plan", "Registrar"]
