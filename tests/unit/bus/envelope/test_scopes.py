from __future__ import annotations

import pytest

from bus.envelope.scopes import covers, scope_of


@pytest.mark.parametrize(
    ("subject", "scope"),
    [
        ("evt.north.patient.admitted.17", "evt.north.patient.admitted.*"),
        (
            "ctl.north.receipts.00112233445566778899aabbccddeeff.his-out",
            "ctl.north.receipts.*.his-out",
        ),
        ("svc.north.pacs.v1.rpc.find", "svc.north.pacs.v1.rpc.find"),
        ("evt.north.raw.deadbeef", "evt.north.raw.deadbeef"),
    ],
)
def test_tokens_that_are_one_of_many_become_wildcards(subject: str, scope: str) -> None:
    assert scope_of(subject) == scope
    assert covers([scope], subject)


def test_subject_is_covered_by_any_one_pattern() -> None:
    assert covers(["a.b", "evt.>"], "evt.north.raw")
    assert not covers(["a.b", "evt.*"], "evt.north.raw")
    assert not covers([], "evt.north.raw")
