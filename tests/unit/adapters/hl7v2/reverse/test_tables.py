"""Tables of the way to HL7 v2: layers, and errors that an engineer understands when they are loaded."""

from __future__ import annotations

import pytest

from adapters.hl7v2.codec import Message
from adapters.hl7v2.mapping import Layer, TablesError
from adapters.hl7v2.reverse import Writer, default_writer, load_reverse_tables
from tests.unit.adapters.hl7v2.reverse.resources import bundle, context, layered, order, patient

ORC = "segment: ServiceRequest[ORC]\n"
RULE = "rules:\n  - {{id: new, {}}}\n"


def sent(writer: Writer) -> Message:
    written = writer.write(bundle(patient(), order()), context())
    assert written.message is not None
    return Message.parse(written.message)


def test_a_layer_adds_replaces_and_disables_rules() -> None:
    site = layered(
        {
            "segments/orc.yaml": ORC
            + "disable: [group, authored]\n"
            + "override:\n  - {id: filler, const: NONE, to: ORC-3.1}\n"
            + "rules:\n  - {id: site-entered, const: WARD, to: ORC-13.1}\n"
        }
    )
    found = sent(site)
    assert [found.get(path) for path in ("ORC-9", "ORC-3.1", "ORC-13.1")] == ["", "NONE", "WARD"]
    assert site.version != default_writer().version


def test_a_layer_changes_codes() -> None:
    table = "source,system,code,display,status\nactive,HL70119,XX,,\n"
    assert sent(layered({"codes/OrderControl.csv": table})).get("ORC-1") == "XX"


def test_a_layer_changes_the_steps_of_a_message() -> None:
    site = layered(
        {
            "segments/zor.yaml": "segment: ServiceRequest[ZOR]\nrules:\n"
            "  - {id: intent, from: intent, to: ZOR-1}\n",
            "messages/oml.yaml": "message: OML_O21\ndisable: [timing, note]\ninsert:\n"
            '  - {after: request, step: {name: site, documents: ["ServiceRequest[ZOR]"]}}\n',
        }
    )
    assert sent(site).get("ZOR-1") == "order"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (ORC + "disable: [placr]\n", "'placer'"),
        (ORC + "override:\n  - {id: filer, const: x, to: ORC-3}\n", "'filler'"),
        (ORC + "rules:\n  - {id: placer, const: x, to: ORC-2}\n", "is taken"),
        (ORC + RULE.format("to: ORC-2"), "'from' or 'const'"),
        (ORC + RULE.format("const: x, to: OBR-2"), "ORC-3"),
        (ORC + RULE.format("const: x, to: 'ORC-2[]'"), "needs 'from'"),
        (ORC + RULE.format("from: 'code.codng[', to: ORC-2"), "ORC]: rule new"),
        (ORC + RULE.format("from: code, as: 'CodeableConcept[CWX]', to: ORC-2"), "CWE"),
        (ORC + RULE.format("from: code, as: dateTim, to: ORC-2"), "'dateTime'"),
        (ORC + RULE.format("from: code, table: OrderContrl, to: ORC-2"), "'OrderControl'"),
        (ORC + RULE.format("from: '%pateint.name', to: ORC-2"), "'patient'"),
        (ORC + RULE.format("from: 'now().toString()', to: ORC-2"), "present"),
        (ORC + RULE.format("from: 'a.where(b.resolve().exists())', to: ORC-2"), "resolve()"),
        (ORC + RULE.format("from: message.tiem, to: ORC-2"), "'time'"),
        (ORC + RULE.format("from: code, to: ORC-2, since: '9'"), "since"),
        (ORC + RULE.format("from: code, to: ORC-2, wehn: x"), "'when'"),
        ("segment: ORC\n", "Patient[PID]"),
        ("segment: Foo[ZZZ]\nrules:\n  - {id: a, from: x, to: ZZZ-1, as: 'Bar[ZZ]'}\n", "Bar[ZZ]"),
    ],
)
def test_a_wrong_table_is_refused_with_its_place_and_what_was_meant(text: str, told: str) -> None:
    with pytest.raises(TablesError) as refused:
        layered({"segments/site.yaml": text})
    assert told in str(refused.value)
    assert "site/segments/site.yaml" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("disable: [tming]\n", "'timing'"),
        ("steps: []\n", "earlier layer"),
        ("insert:\n  - {after: nowhere, step: {name: a, documents: [x]}}\n", "nowhere"),
        ("override:\n  - {name: timing}\n", "'documents' or 'steps'"),
        ("override:\n  - {name: timing, documents: ['Patient[PI]']}\n", "Patient[PID]"),
        ("override:\n  - {name: timing, documents: ['Identifier[EI]']}\n", "one segment"),
        ("rank: high\n", "whole number"),
    ],
)
def test_a_wrong_message_document_is_refused(text: str, told: str) -> None:
    with pytest.raises(TablesError) as refused:
        layered({"messages/site.yaml": "message: OML_O21\n" + text})
    assert told in str(refused.value)


def test_documents_that_call_each_other_in_a_circle_are_refused() -> None:
    one = "datatype: A[XA]\nrules:\n  - {id: b, from: x, to: ., as: 'B[XB]'}\n"
    other = "---\ndatatype: B[XB]\nrules:\n  - {id: a, from: x, to: ., as: 'A[XA]'}\n"
    with pytest.raises(TablesError, match="circle"):
        layered({"datatypes/site.yaml": one + other})


def test_two_layers_of_one_name_are_refused() -> None:
    with pytest.raises(TablesError, match="same name"):
        load_reverse_tables(["to-v2", Layer(name="to-v2", files={})])
