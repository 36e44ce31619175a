"""Nothing valued is lost in silence: what is not given out is listed, also when its resource is left out."""

from __future__ import annotations

from adapters.hl7v2.mapping import MapContext
from adapters.hl7v2.mapping.protocol import IssueCode, Mapped
from tests.unit.adapters.hl7v2.mapping.standin import MSH, ORU, PID, mapped


def _unmapped(found: Mapped) -> dict[str, str]:
    return {one.where: one.detail for one in found.issues if one.code is IssueCode.UNMAPPED_FIELD}


def test_leaves_of_a_resource_that_is_left_out_are_listed_with_the_reason() -> None:
    whole = "OBX|1|NM|1234-5^Sodium^LN||140|mmol/L|||||{}"
    kept = mapped(ORU, PID, "OBR|1|A|B|X", whole.format("F"))
    left_out = mapped(ORU, PID, "OBR|1|A|B|X", whole.format(""))
    assert any(one["resourceType"] == "Observation" for one in kept.resources)
    assert not any(one["resourceType"] == "Observation" for one in left_out.resources)
    told = _unmapped(left_out)
    assert "left out with its Observation" in told["OBX-3.1"]
    assert "left out with its Observation" in told["OBX-5"]
    assert "OBX-5" not in _unmapped(kept)


def test_the_same_is_listed_whether_origins_are_asked_for_or_not() -> None:
    segments = (ORU, PID, "OBR|1|A|B|X", "OBX|1|NM|1234-5^Sodium^LN||140|mmol/L")
    explained = mapped(*segments, context=MapContext(tenant="north", explain=True))
    assert _unmapped(explained) == _unmapped(mapped(*segments))


def test_nothing_is_listed_as_left_out_where_all_is_given_out() -> None:
    assert not any("left out" in detail for detail in _unmapped(mapped(MSH, PID)).values())


def test_a_message_without_control_id_is_told() -> None:
    found = mapped(MSH.replace("|7|P|", "||P|"), PID)
    assert any(
        one.code is IssueCode.NO_IDENTIFIER and one.where == "MSH-10" for one in found.issues
    )
