"""Which resources of a message are one and the same."""

from __future__ import annotations

from typing import Any

from adapters.hl7v2.codec import Message
from adapters.hl7v2.mapping import default_mapper
from adapters.hl7v2.mapping.protocol import MapContext, Output

_HEAD = ("MSH|^~\\&|LAB|NORTH|HIS|X|20260102||ORU^R01^ORU_R01|7|P|2.5.1", "PID|1||9^^^NORTH^MR")
_FIRST = (
    "OBR|1|55^HIS|A1^LAB|CBC^Blood count^L",
    "OBX|1|NM|WBC^Cells^L||5",
    "OBX|2|NM|WBC^Cells^L||7",
)
_SECOND = ("OBR|2|55^HIS|A2^LAB|LYT^Electrolytes^L", "OBX|1|NM|NA^Sodium^L||140")


def _resources(*segments: str, output: Output = Output.MESSAGE) -> dict[str, list[Any]]:
    message = Message.parse("\r".join((*_HEAD, *segments)).encode())
    bundle: Any = default_mapper().map(message, MapContext(tenant="north", output=output)).bundle
    found: dict[str, list[Any]] = {}
    for entry in bundle["entry"]:
        found.setdefault(entry["resource"]["resourceType"], []).append(entry)
    return found


def _ids(found: dict[str, list[Any]], kind: str) -> list[str]:
    return [one["resource"]["id"] for one in found[kind]]


def test_panels_of_one_order_number_are_orders_of_their_own() -> None:
    found = _resources(*_FIRST, *_SECOND)
    codes = [one["resource"]["code"]["coding"][0]["code"] for one in found["ServiceRequest"]]
    assert codes == ["CBC", "LYT"]
    assert _ids(found, "ServiceRequest")[0] == _ids(_resources(*_FIRST), "ServiceRequest")[0]


def test_a_number_that_two_orders_have_finds_none_of_them() -> None:
    found = _resources(*_FIRST, *_SECOND, output=Output.TRANSACTION)
    urls = [one["request"]["url"] for one in found["ServiceRequest"]]
    assert urls == [f"ServiceRequest/{one}" for one in _ids(found, "ServiceRequest")]


def test_two_values_of_one_observation_are_both_given_out() -> None:
    found = _resources(*_FIRST)
    values = [one["resource"]["valueQuantity"]["value"] for one in found["Observation"]]
    assert values == [5, 7]
    assert len(found["DiagnosticReport"][0]["resource"]["result"]) == 2


def test_results_that_are_sent_again_with_others_keep_their_ids() -> None:
    whole, last = _resources(*_FIRST, *_FIRST, *_SECOND), _resources(*_SECOND)
    for kind in ("DiagnosticReport", "Observation"):
        every = _ids(whole, kind)
        assert len(every) == len(set(every))
    assert _ids(whole, "DiagnosticReport")[-1] == _ids(last, "DiagnosticReport")[0]


def test_a_specimen_of_two_orders_is_one() -> None:
    specimen = "SPM|1|S1&HIS^S2&LAB||BLD"
    assert len(_resources(*_FIRST, specimen, *_SECOND, specimen)["Specimen"]) == 1
