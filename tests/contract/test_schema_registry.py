"""What the schema registry promises, on every carrier: truth, order, and no word of the carrier's own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bus.catalogue import (
    REGISTRAR,
    BindingSigner,
    BindingVerifier,
    Catalogue,
    Registrar,
    registrar_rights,
)
from bus.catalogue.buckets import open_bindings, open_schemas
from bus.clock import SystemClock
from bus.telemetry.counters import Counters
from bus.transport.protocol import KeyValue, LinkState, Transport, WrongRevision
from bus.trust import Trust
from bus.trust.carrier import CERTIFICATES
from bus.trust.sync import certificate_key
from schemas.errors import MeshError, Unavailable
from schemas.registry.errors import (
    BindingConflict,
    IncompatibleSchema,
    Misfit,
    SchemaError,
    SchemaRefused,
    StaleBinding,
)
from schemas.registry.models import Binding, Compatibility, Depth, Kind, Mode
from schemas.registry.patterns import key_of, schema_key
from schemas.subjects import SiteId
from tests.contract.carriers import Carrier, eventually
from tests.unit.schemas.registry.protos import REPORT, report

SITE = SiteId("north")
SUBJECT = "evt.north.raw.hl7v2.3"
HL7 = Binding(pattern="evt.north.raw.hl7v2.*", kind=Kind.HL7V2, content_types=("hl7v2/ADT^*",))
PROTO = "application/protobuf"


class Desk:
    """One machine: its trust, a registrar, and catalogues that follow."""

    def __init__(
        self, folder: Path, transport: Transport, trust: Trust, signer: BindingSigner
    ) -> None:
        self.folder, self.transport, self.trust = folder, transport, trust
        self.signer = signer
        self.clock = SystemClock()
        self.verifier = BindingVerifier(trust.root, trust.directory, site=SITE, clock=self.clock)
        self.counters = Counters()
        self.open: list[Catalogue] = []

    async def registrar(self, *, writes: bool = True) -> Registrar:
        signer = self.signer if writes else None
        return await Registrar.open(
            self.transport, site=SITE, verifier=self.verifier, clock=self.clock, signer=signer
        )

    async def catalogue(self, mode: Mode = Mode.ENFORCE, folder: str = "schemas") -> Catalogue:
        made = Catalogue(
            buckets=self.transport, verifier=self.verifier, folder=self.folder / folder, mode=mode,
            reachable=lambda: self.transport.link is LinkState.CONNECTED, counters=self.counters,
        )  # fmt: skip
        self.open.append(made)
        await made.start()
        return made


@pytest.fixture
async def desk(carrier: Carrier, tmp_path: Path) -> AsyncIterator[Desk]:
    transport = await carrier.connect()
    clock = SystemClock()
    trust = await Trust.open(
        tmp_path / "trust", mesh="st-elsewhere", site=SITE, buckets=transport, clock=clock,
        passphrase=lambda: "",
    )  # fmt: skip
    identity = await trust.identity(REGISTRAR, publish=registrar_rights(SITE), subscribe=())
    certificates = await transport.key_value(CERTIFICATES)
    raw = (await certificates.get(certificate_key(identity.certificate))).value
    assert raw is not None
    made = Desk(tmp_path, transport, trust, BindingSigner(identity, raw))
    yield made
    for one in made.open:
        await one.stop()
    await trust.stop()


def proto(text: str = REPORT, **more: object) -> Binding:
    binding = Binding(
        pattern="evt.north.result.*.*", kind=Kind.PROTOBUF, content_types=(PROTO,), message="lab.v1.Report",
        schema=report(text).schema, depth=Depth.FULL, compatibility=Compatibility.BACKWARD,
    )  # fmt: skip
    return replace(binding, **more)  # type: ignore[arg-type]  # fields by name


def refused(
    catalogue: Catalogue, content_type: str, body: bytes = b"", subject: str = SUBJECT
) -> bool:
    try:
        catalogue.check(subject, content_type, body)
    except SchemaRefused:
        return True
    return False


async def test_what_was_bound_is_listed_and_held_to_and_followed(desk: Desk) -> None:
    registrar = await desk.registrar()
    assert (await registrar.push(HL7, None)).revision.version == 1
    catalogue = await desk.catalogue()
    assert [one.revision.binding for one in (await registrar.listing()).bindings] == [HL7]
    assert catalogue.state().is_live
    assert refused(catalogue, "hl7v2/ORU^R01"), "what was bound before the start holds at once"
    assert not refused(catalogue, "hl7v2/ADT^A01")
    wider = replace(HL7, content_types=("hl7v2/ADT^*", "hl7v2/ORU^R01"))
    assert (await registrar.push(wider, None)).revision.version == 2
    await eventually(lambda: not refused(catalogue, "hl7v2/ORU^R01"), "the change")
    await registrar.remove(HL7.pattern)
    await eventually(lambda: not refused(catalogue, "text/plain"), "the removal")
    assert (await registrar.listing()).bindings == ()
    assert (await registrar.push(HL7, None)).revision.version == 4
    await eventually(lambda: refused(catalogue, "text/plain"), "the binding anew")
    assert desk.counters.get("binding_refused") == 0


async def test_writing_what_is_bound_already_changes_nothing(desk: Desk) -> None:
    registrar = await desk.registrar()
    for _ in range(2):
        assert (await registrar.push(HL7, None)).revision.version == 1
        assert (await registrar.push(proto(), report())).revision.version == 1


async def test_writer_that_looked_at_an_older_version_is_refused(desk: Desk) -> None:
    registrar = await desk.registrar()
    await registrar.push(HL7, None, expect=0)
    with pytest.raises(StaleBinding, match="version 1, not 0"):
        await registrar.push(replace(HL7, description="mine"), None, expect=0)
    with pytest.raises(StaleBinding):
        await registrar.remove(HL7.pattern, expect=7)
    await registrar.push(replace(HL7, description="mine"), None, expect=1)


async def test_of_writers_at_one_moment_one_wins_and_the_others_are_told(desk: Desk) -> None:
    writers = [await desk.registrar() for _ in range(6)]
    results = await asyncio.gather(
        *(
            one.push(replace(HL7, description=str(i)), None, expect=0)
            for i, one in enumerate(writers)
        ),
        return_exceptions=True,
    )
    won = [one for one in results if not isinstance(one, BaseException)]
    assert len(won) == 1
    assert all(isinstance(one, StaleBinding) for one in results if isinstance(one, BaseException))
    (held,) = (await writers[0].listing()).bindings
    assert held.revision == won[0].revision


async def test_two_bindings_of_one_rank_for_one_subject_are_refused(desk: Desk) -> None:
    registrar = await desk.registrar()
    await registrar.push(replace(HL7, pattern="evt.north.*.hl7v2.*"), None)
    with pytest.raises(BindingConflict, match=r"evt\.north\.\*\.hl7v2\.\*"):
        await registrar.push(replace(HL7, pattern="evt.north.raw.*.*"), None)
    await registrar.push(replace(HL7, pattern="evt.north.raw.hl7v2.*"), None)
    await registrar.remove("evt.north.*.hl7v2.*")
    await registrar.push(replace(HL7, pattern="evt.north.raw.*.*"), None)


@pytest.mark.parametrize("pattern", ["evt.south.raw.>", "ctl.north.>", "evt.*.raw.>"])
async def test_subjects_that_are_no_events_of_the_site_cannot_be_bound(
    desk: Desk, pattern: str
) -> None:
    with pytest.raises(SchemaError, match="within the events of this site"):
        await (await desk.registrar()).push(replace(HL7, pattern=pattern), None)


async def test_schema_is_stored_once_and_never_changed(desk: Desk) -> None:
    registrar, closure = await desk.registrar(), report()
    assert await registrar.descriptors.put(closure)
    assert not await registrar.descriptors.put(closure)
    bucket = await open_schemas(desk.transport)
    with pytest.raises(WrongRevision):
        await bucket.swap(schema_key(closure.schema), b"other", revision=0)
    fresh = await desk.registrar(writes=False)
    assert (await fresh.descriptors.get(closure.schema)).raw == closure.raw
    assert await fresh.descriptors.find(closure.schema[:8]) == closure.schema


async def test_schema_that_the_carrier_exchanged_is_refused(desk: Desk) -> None:
    closure, other = report(), report(REPORT.replace("count", "number"))
    bucket = await open_schemas(desk.transport)
    await bucket.put(schema_key(closure.schema), other.stored())
    registrar = await desk.registrar()
    with pytest.raises(SchemaError, match="not what its hash names"):
        await registrar.descriptors.get(closure.schema)
    with pytest.raises(SchemaError, match="not what its hash names"):
        await registrar.push(proto(), closure)
    assert (await registrar.listing()).bindings == ()


async def test_compatibility_holds_against_every_former_schema(desk: Desk) -> None:
    registrar = await desk.registrar()
    one = REPORT
    two = one.replace("int32 count = 2;", 'reserved 2; reserved "count";')
    back = one.replace("int32 count = 2;", "string count = 2;")
    for text in (one, two):
        await registrar.push(proto(text), report(text))
    held = await registrar.read(proto().pattern)
    assert held.revision.binding.former == (report(one).schema,)
    plan = await registrar.plan(proto(back), report(back))
    assert plan.schemas_checked == 2
    assert len(plan.findings) == 2, "once against each"
    with pytest.raises(IncompatibleSchema, match="backward"):
        await registrar.push(proto(back), report(back))
    await registrar.push(proto(back, compatibility=Compatibility.NONE), report(back))


async def test_protobuf_is_parsed_where_the_binding_asks_for_it(desk: Desk) -> None:
    registrar = await desk.registrar()
    await registrar.push(proto(), report())
    catalogue = await desk.catalogue()
    subject = "evt.north.result.reported.5"
    whole = report().message_class("lab.v1.Report")(id="1").SerializeToString()
    assert catalogue.check(subject, PROTO, whole) == bytes.fromhex(report().schema)
    assert catalogue.check(SUBJECT, PROTO, whole) == b"", "nothing is bound there"
    with pytest.raises(SchemaRefused) as refusal:
        catalogue.check(subject, PROTO, b"\xff\xff")
    assert refusal.value.misfit is Misfit.UNREADABLE
    assert catalogue.state().incomplete == ()


async def test_binding_whose_schema_is_missing_checks_types_and_says_so(desk: Desk) -> None:
    registrar = await desk.registrar()
    await registrar.push(proto(), report())
    await (await open_schemas(desk.transport)).delete(schema_key(report().schema))
    catalogue = await desk.catalogue(folder="elsewhere")
    assert catalogue.state().incomplete == (proto().pattern,)
    assert not refused(catalogue, PROTO, b"\xff\xff", "evt.north.result.reported.5")
    assert refused(catalogue, "text/plain", b"", "evt.north.result.reported.5")
    assert desk.counters.get("schema_missing") >= 1


async def test_what_the_carrier_writes_changes_or_deletes_changes_nothing(desk: Desk) -> None:
    registrar = await desk.registrar()
    await registrar.push(HL7, None)
    bucket = await open_bindings(desk.transport)
    first = (await bucket.get(key_of(HL7.pattern))).value
    assert first is not None
    await registrar.push(replace(HL7, content_types=("hl7v2/ADT^A01",)), None)
    catalogue = await desk.catalogue()
    assert refused(catalogue, "hl7v2/ADT^A08")
    for hostile in (first, first[:-1], b"", b"{}"):
        before = desk.counters.get("binding_refused")
        await bucket.put(key_of(HL7.pattern), hostile)
        await eventually(lambda: desk.counters.get("binding_refused") > before, "its refusal")  # noqa: B023 -- called in this round
        assert refused(catalogue, "hl7v2/ADT^A08"), "an older or forged binding changes nothing"
    await bucket.put(key_of("evt.north.>"), first)
    await bucket.put("no.=pattern", first)
    await bucket.delete(key_of(HL7.pattern))
    await eventually(
        lambda: desk.counters.get("binding_refused", reason="unsigned_removal") == 1, "the refusal"
    )
    assert refused(catalogue, "hl7v2/ADT^A08")
    assert len(catalogue.bindings()) == 1
    listing = await registrar.listing()
    assert set(listing.refused.values()) <= {"subject_mismatch"}
    assert len(listing.refused) == 2
    # the operator binds anew over whatever lies there
    await registrar.push(HL7, None)
    await eventually(lambda: not refused(catalogue, "hl7v2/ADT^A08"), "the binding anew")


async def test_older_binding_is_refused_after_a_restart_as_well(desk: Desk) -> None:
    registrar = await desk.registrar()
    await registrar.push(HL7, None)
    bucket = await open_bindings(desk.transport)
    old = (await bucket.get(key_of(HL7.pattern))).value
    assert old is not None
    await registrar.push(replace(HL7, content_types=("hl7v2/ADT^A01",)), None)
    await (await desk.catalogue()).stop()
    await bucket.put(key_of(HL7.pattern), old)
    again = await desk.catalogue()
    assert refused(again, "hl7v2/ADT^A08")
    assert desk.counters.get("binding_refused", reason="replayed") == 1


async def test_last_known_bindings_hold_while_the_registry_is_away(
    desk: Desk, carrier: Carrier
) -> None:
    registrar = await desk.registrar()
    await registrar.push(HL7, None)
    await registrar.push(proto(), report())
    catalogue = await desk.catalogue()
    await carrier.cut()
    await eventually(lambda: not catalogue.state().is_live, "the loss is seen")
    assert refused(catalogue, "text/plain")
    assert catalogue.state().bindings == 2
    offline = Catalogue(
        buckets=Away(), verifier=desk.verifier, folder=desk.folder / "schemas", mode=Mode.ENFORCE,
        reachable=lambda: False, counters=desk.counters,
    )  # fmt: skip
    await offline.start()
    try:
        assert refused(offline, "text/plain"), "also after a restart without it"
        assert refused(offline, PROTO, b"\xff\xff", "evt.north.result.reported.5")
        assert not offline.state().is_live
        assert desk.counters.get("catalogue_unreachable") == 1
    finally:
        await offline.stop()
    await carrier.restore()
    await eventually(lambda: catalogue.state().is_live, "the return")
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(MeshError):
                await registrar.push(
                    replace(HL7, content_types=("text/plain",), kind=Kind.CONTENT), None
                )
                break
    await eventually(
        lambda: not refused(catalogue, "text/plain"), "what was bound after the return"
    )


class Away:
    """A carrier that nobody can reach."""

    async def key_value(self, bucket: str, *, history: int = 1) -> KeyValue:
        raise Unavailable("away")


async def test_site_that_only_warns_counts_and_lets_pass(desk: Desk) -> None:
    await (await desk.registrar()).push(HL7, None)
    catalogue = await desk.catalogue(Mode.WARN)
    assert not refused(catalogue, "text/plain")
    assert desk.counters.get("schema_misfit_passed", who=HL7.pattern, reason="message_type") == 1


async def test_reader_cannot_write(desk: Desk) -> None:
    with pytest.raises(SchemaError, match="read only"):
        await (await desk.registrar(writes=False)).push(HL7, None)
