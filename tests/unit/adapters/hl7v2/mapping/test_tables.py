"""Loading: layers, and errors that an integration engineer can act on."""

from __future__ import annotations

import pytest

from adapters.hl7v2.mapping import Layer, TablesError, load_tables
from tests.unit.adapters.hl7v2.mapping.standin import MSH, PID, TABLES, layer, mapped, mapper, only


def test_layer_adds_replaces_and_disables() -> None:
    site = layer(
        segments__pid="""
segment: PID[Patient]
rules: [{id: active, to: active, const: true}]
override: [{id: birth-date, from: PID-7, to: birthDate, when: PID-8 = 'nobody'}]
disable: [gender]
""",
        codes__MaritalStatus="source,system,code,display,status\nM,urn:site,MARRIED,,\n",
    )
    patient = only(mapped(MSH, PID, using=mapper(site)), "Patient")
    assert patient["active"] is True
    assert "birthDate" not in patient
    assert "gender" not in patient
    assert patient["maritalStatus"]["coding"] == [{"system": "urn:site", "code": "MARRIED"}]


def test_message_document_of_a_layer_is_changed_by_name() -> None:
    site = layer(
        segments__z="segment: ZPD[Patient]\nrules: [{id: active, from: ZPD-1, to: active}]",
        messages__a="message: ADT\nextend: [{name: patient, documents: ['ZPD[Patient]']}]\ndisable: [header]",
    )
    result = mapped(MSH, PID, "ZPD|Y", using=mapper(site))
    assert only(result, "Patient")["active"] is True
    assert all(one["resourceType"] != "MessageHeader" for one in result.resources)


def test_version_follows_every_byte() -> None:
    ground = Layer.directory(TABLES, "std")
    one, same = load_tables([ground]), load_tables([Layer.directory(TABLES, "std")])
    other = load_tables([ground, layer(codes__New="source,system,code,display,status\n")])
    assert one.version == same.version != other.version


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"segments__x": "segment: PID[Patient]\noverride: [{id: gendr, from: PID-8, to: gender}]"},
         "did you mean 'gender'"),
        ({"segments__x": "segment: PID[Patient]\ndisable: [gendr]"}, "did you mean 'gender'"),
        ({"segments__x": "segment: PID[Patient]\nrules: [{id: gender, from: PID-8, to: gender}]"}, "is taken"),
        ({"segments__x": "segment: PID[Patient]\nrules: [{id: a, form: PID-8, to: gender}]"}, "did you mean 'from'"),
        ({"segments__x": "segment: PID[Patient]\nrules: [{id: a, from: PID-8, to: gendre}]"}, "did you mean 'gender'"),
        ({"segments__x": "segment: PID[Patient]\nrules: [{id: a, from: PID-8, to: name}]"}, "is a list"),
        ({"segments__x": "segment: PID[Patient]\nrules: [{id: a, from: PID-8, to: 'gender[]'}]"}, "is no list"),
        ({"segments__x": "segment: PID[Patient]\nrules: [{id: a, from: PID-x, to: gender}]"}, "is no source"),
        ({"segments__x": "segment: PID[Patient]\nrules: [{id: a, from: .1, to: gender}]"}, "name the field"),
        ({"segments__x": "segment: PID[Patient]\nrules: [{id: a, from: PID-8, to: gender, as: cod}]"},
         "did you mean 'code'"),
        ({"segments__x": "segment: PID[Patient]\nrules: [{id: a, from: PID-8, to: birthDate, as: string}]"},
         "takes date"),
        ({"segments__x": "segment: PID[Patient]\nrules: [{id: a, from: PID-8, to: gender, table: AdminSex}]"},
         "no code table"),
        ({"segments__x": "segment: PID[Patient]\nrules: [{id: a, from: PID-8, to: gender, when: PID-8 ==}]"}, "when"),
        ({"segments__x": "segment: PID[Patient]\nrules: [{id: a, to: active, const: 'true'}]"}, "is no boolean"),
        ({"segments__x": "segment: PID[Patient]\nrules: [{id: a, to: gender, const: diverse}]"}, "is allowed"),
        ({"segments__x": "segment: PID[Patient]\nrules: [{id: a, to: managingOrganization, ref: patinet}]"},
         "did you mean 'patient'"),
        ({"segments__x": "segment: PID[Patient]\nrules: [{id: a, from: PID-3, to: managingOrganization, "
          "as: 'XCN[Practitioner]', create: Practitioner}]"}, "refers to Organization"),
        ({"segments__x": "segment: PID[Pateint]\nrules: [{id: a, from: PID-8, to: gender}]"}, "did you mean 'Patient'"),
        ({"datatypes__x": "datatype: FN[HumanName]\nrules: [{id: a, from: ., to: $this, as: 'XPN[HumanName]'}]\n---\n"
          "datatype: XPN[HumanName]\nrules: [{id: a, from: ., to: $this, as: 'FN[HumanName]'}]"}, "circle"),
        ({"messages__x": "message: M\nlike: ADT_A1"}, "did you mean 'ADT_A01'"),
        ({"messages__x": "message: M\ntype: ADT\nevents: [A01]"}, "are both for"),
        ({"messages__x": "message: ADT\nextend: [{name: patinet}]"}, "did you mean 'patient'"),
        ({"codes__X": "source,code\n"}, "the header is"),
        ({"codes__X": "source,system,code,display,status\na,,,,\n"}, "code: empty"),
        ({"codes__X": "source,system,code,display,status\na,,,,disabled\n"}, "no earlier layer"),
        ({"segments__x": "a: &a [1]\nb: *a"}, "anchors"),
        ({"segments__x": "segment: PID[Patient]\nsegment: PID[Patient]"}, "stands twice"),
        ({"segments__x": "segment: [\n"}, "no YAML"),
        ({"folder__x": ""}, "one of messages"),
    ],
)  # fmt: skip
def test_wrong_table_stops_the_load_and_says_where_and_what(
    files: dict[str, str], said: str
) -> None:
    with pytest.raises(TablesError, match="site/") as caught:
        mapper(layer(**files))
    assert said in str(caught.value)


def test_codes_that_look_like_numbers_or_booleans_stay_texts() -> None:
    site = layer(
        segments__x="segment: PID[Patient]\nrules: [{id: a, to: 'name[x].text', const: no}]"
    )
    assert only(mapped(MSH, PID, using=mapper(site)), "Patient")["name"][-1] == {"text": "no"}


def test_unmapped_policies() -> None:
    header = "source,system,code,display,status\n"
    for policy, expected in (("keep", "Q"), ("omit", None), ("fail", None), ("use", "U")):
        code = "U" if policy == "use" else ""
        site = layer(codes__MaritalStatus=f"{header}*,,{code},,{policy}\n")
        patient = only(
            mapped(MSH, PID.replace("|M|||111", "|Q|||111"), using=mapper(site)), "Patient"
        )
        found = (
            patient["maritalStatus"]["coding"][0]["code"] if "maritalStatus" in patient else None
        )
        assert found == expected
