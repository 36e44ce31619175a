"""What messages become."""

from __future__ import annotations

from datetime import UTC

from adapters.hl7v2.mapping import IssueCode, MapContext, Output, to_json
from tests.unit.adapters.hl7v2.mapping.standin import MSH, ORU, PID, layer, mapped, mapper, only

PV1 = (
    "PV1|1|I|A^1^2||||7^Doc^Dan^^^^^^&1.2.9&ISO~8^Low^Liz|||||||||||"
    "|V1^^^HOSP&1.2.3&ISO^VN|||||||||||||||||||||||||202601020304+0100"
)
REPORT = "OBR|1|P1|F1|24331-1^Lipid^LN|||20260101||||||||||||||||||F"


def test_rules_of_one_source_repetition_fill_one_element() -> None:
    patient = only(mapped(MSH, PID), "Patient")
    assert patient["telecom"] == [
        {"value": "555-1", "system": "phone", "use": "home"},
        {"value": "a@b.example", "system": "email", "use": "work"},
    ]
    assert [one["value"] for one in patient["identifier"]] == ["123", "99", "111-22-3333"]
    assert patient["identifier"][2]["system"] == "http://hl7.org/fhir/sid/us-ssn"


def test_names_of_each_repetition_stay_apart() -> None:
    names = only(mapped(MSH, PID), "Patient")["name"]
    assert names[0] == {
        "family": "Doe",
        "given": ["Jane", "Q"],
        "prefix": ["Dr"],
        "use": "official",
    }
    assert names[1] == {"family": "Roe", "use": "maiden"}


def test_several_segments_fill_one_resource() -> None:
    result = mapped(MSH, PID, PV1, "PV2|||^Pain", "DG1|1||A00^X^I10", "DG1|2||B00^Y^I10")
    encounter = only(result, "Encounter")
    assert encounter["reasonCode"] == [{"text": "Pain"}]
    assert len(encounter["participant"]) == 2
    assert all({"individual", "type"} == set(one) for one in encounter["participant"])
    conditions = [
        f"urn:uuid:{one['id']}" for one in result.resources if one["resourceType"] == "Condition"
    ]
    assert [one["condition"]["reference"] for one in encounter["diagnosis"]] == conditions
    assert encounter["period"] == {"start": "2026-01-02T03:04:00+01:00"}


def test_same_organization_named_twice_is_one_resource() -> None:
    result = mapped(MSH, PID, PV1)
    named = [one for one in result.resources if one.get("name") == "HOSP"]
    assert len(named) == 1


def test_every_reference_resolves_in_the_bundle() -> None:
    result = mapped(MSH, PID, PV1, "AL1|1||P^Penicillin^L")
    assert result.bundle is not None
    urls = {one["fullUrl"] for one in result.bundle["entry"]}  # type: ignore[index,union-attr,call-overload]  # JSON
    text = to_json(result.bundle).decode()
    found = {part.split('"')[0] for part in text.split('"reference":"')[1:]}
    assert found
    assert found <= urls


def test_results_hang_below_their_own_report() -> None:
    result = mapped(
        ORU, PID, "ORC|RE|P1|F1", REPORT, "OBX|1|NM|1^A^LN||1.10||||||F",
        "ORC|RE|P2|F2", REPORT.replace("P1|F1", "P2|F2"), "OBX|1|ST|2^B^LN||text||||||F",
    )  # fmt: skip
    reports = [one for one in result.resources if one["resourceType"] == "DiagnosticReport"]
    observations = [one for one in result.resources if one["resourceType"] == "Observation"]
    orders = [one for one in result.resources if one["resourceType"] == "ServiceRequest"]
    for report, observation, order in zip(reports, observations, orders, strict=True):
        assert report["result"] == [{"reference": f"urn:uuid:{observation['id']}"}]
        assert report["basedOn"] == [{"reference": f"urn:uuid:{order['id']}"}]


def test_decimal_text_is_kept() -> None:
    result = mapped(ORU, PID, REPORT, "OBX|1|NM|1^A^LN||1.10|mg/dL||||F|F")
    assert b'"value":1.10' in to_json(only(result, "Observation"))


def test_value_type_follows_obx_2() -> None:
    result = mapped(
        ORU, PID, REPORT, "OBX|1|ST|1^A^LN||one~two||||||F", "OBX|2|CE|2^B^LN||x^Text^LN||||||F"
    )
    first, second = [one for one in result.resources if one["resourceType"] == "Observation"]
    assert first["valueString"] == "one\ntwo"
    assert second["valueCodeableConcept"]["coding"][0]["system"] == "http://loinc.org"  # type: ignore[index,call-overload]  # JSON


def test_notes_belong_to_the_segment_before_them() -> None:
    result = mapped(
        ORU, PID, REPORT, "OBX|1|ST|1^A^LN||a||||||F", "NTE|1||mine", "NTE|2||too",
        "OBX|2|ST|2^B^LN||b||||||F", "NTE|1||other",
    )  # fmt: skip
    first, second = [one for one in result.resources if one["resourceType"] == "Observation"]
    assert first["note"] == [{"text": "mine"}, {"text": "too"}]
    assert second["note"] == [{"text": "other"}]


def test_order_without_details_is_still_an_order() -> None:
    result = mapped(ORU, PID, "ORC|CA|P1|F1")
    assert not [one for one in result.resources if one["resourceType"] == "DiagnosticReport"]
    # no rule gives an order without OBR its intent: it is left out, and said so
    assert any(issue.code is IssueCode.MISSING for issue in result.issues)


def test_status_follows_the_event() -> None:
    cancelled = mapped(MSH.replace("A01^ADT_A01", "A11^ADT_A09"), PID, PV1)
    assert only(cancelled, "Encounter")["status"] == "cancelled"


def test_merged_patient_is_inactive_and_linked() -> None:
    result = mapped(
        MSH.replace("ADT^A01^ADT_A01", "ADT^A40^ADT_A39"), PID, "MRG|77^^^HOSP&1.2.3&ISO^MR"
    )
    kept, merged = [one for one in result.resources if one["resourceType"] == "Patient"]
    assert merged["active"] is False
    assert merged["link"] == [
        {"type": "replaced-by", "other": {"reference": f"urn:uuid:{kept['id']}"}}
    ]


def test_two_patients_keep_their_own_visits() -> None:
    message = (
        MSH.replace("A01^ADT_A01", "A08^ADT_A24"),
        PID,
        PV1,
        PID.replace("123", "456"),
        PV1.replace("|V1^", "|V2^"),
    )
    result = mapped(*message)
    patients = [one["id"] for one in result.resources if one["resourceType"] == "Patient"]
    subjects = [one["subject"] for one in result.resources if one["resourceType"] == "Encounter"]
    assert subjects == [{"reference": f"urn:uuid:{one}"} for one in patients]


def test_ids_are_the_same_for_a_resent_message_and_differ_by_tenant() -> None:
    first, again = mapped(MSH, PID, PV1), mapped(MSH.replace("|7|", "|8|"), PID, PV1)
    other = mapped(MSH, PID, PV1, context=MapContext(tenant="south"))
    assert only(first, "Patient")["id"] == only(again, "Patient")["id"]
    assert only(first, "Encounter")["id"] == only(again, "Encounter")["id"]
    assert only(first, "Patient")["id"] != only(other, "Patient")["id"]


def test_link_says_which_identifier_is_the_medical_record_number() -> None:
    swapped = PID.replace(
        "123^^^HOSP&1.2.3&ISO^MR~99^^^CITY^SS", "99^^^CITY^SS~123^^^HOSP&1.2.3&ISO^MR"
    )
    assert only(mapped(MSH, PID), "Patient")["id"] == only(mapped(MSH, swapped), "Patient")["id"]
    city = MapContext(tenant="north", parameters={"mrn_authority": "CITY"})
    a, b = mapped(MSH, PID, context=city), mapped(MSH, swapped, context=city)
    assert (
        only(a, "Patient")["id"]
        == only(b, "Patient")["id"]
        != only(mapped(MSH, PID), "Patient")["id"]
    )


def test_transaction_is_idempotent() -> None:
    context = MapContext(tenant="north", output=Output.TRANSACTION)
    result = mapped(MSH, PID, PV1, context=context)
    assert result.bundle is not None
    requests = {
        one["resource"]["resourceType"]: one["request"]  # type: ignore[index,call-overload]  # JSON
        for one in result.bundle["entry"]  # type: ignore[union-attr]  # JSON
    }
    assert requests["Patient"] == {
        "method": "PUT",
        "url": "Patient?identifier=urn%3Aoid%3A1.2.3%7C123",
    }
    assert requests["Location"]["method"] == "PUT"  # type: ignore[index,call-overload]  # JSON


def test_results_refer_to_a_patient_that_they_may_not_overwrite() -> None:
    context = MapContext(tenant="north", output=Output.TRANSACTION)
    result = mapped(ORU, PID, REPORT, context=context)
    assert result.bundle is not None
    kinds = [one["resource"]["resourceType"] for one in result.bundle["entry"]]  # type: ignore[index,union-attr,call-overload]  # JSON
    assert "Patient" not in kinds
    assert only(result, "DiagnosticReport")["subject"] == {
        "reference": "Patient?identifier=urn%3Aoid%3A1.2.3%7C123"
    }


def test_bare_resources_refer_by_type_and_id() -> None:
    result = mapped(MSH, PID, PV1, context=MapContext(tenant="north", output=Output.BARE))
    assert result.bundle is None
    patient = only(result, "Patient")
    assert only(result, "Encounter")["subject"] == {"reference": f"Patient/{patient['id']}"}


def test_time_without_zone_takes_the_links_or_loses_its_time_of_day() -> None:
    died = PID + "||||||||||20260102030405"
    result = mapped(MSH, died)
    assert only(result, "Patient")["deceasedDateTime"] == "2026-01-02"
    assert [issue.where for issue in result.issues if issue.code is IssueCode.NO_ZONE] == ["PID-29"]
    zoned = mapped(MSH, died, context=MapContext(tenant="north", zone=UTC))
    assert only(zoned, "Patient")["deceasedDateTime"] == "2026-01-02T03:04:05+00:00"


def test_unmapped_code_is_counted_with_its_table_and_without_its_value() -> None:
    result = mapped(MSH, PID.replace("|M|||111", "|Secret|||111"))
    (issue,) = [one for one in result.issues if one.code is IssueCode.UNMAPPED_CODE]
    assert (issue.table, issue.where) == ("MaritalStatus", "PID-16")
    assert "Secret" not in str(result.issues)
    assert only(result, "Patient")["maritalStatus"] == {
        "coding": [{"code": "Secret"}],
        "text": "Secret",
    }


def test_code_outside_of_a_required_value_set_is_left_out() -> None:
    result = mapped(MSH, PID.replace("|F|", "|X|"))
    assert "gender" not in only(result, "Patient")
    assert any(one.where == "Patient.gender" for one in result.issues)


def test_resource_without_a_required_element_is_left_out_with_its_references() -> None:
    result = mapped(ORU, PID, REPORT, "OBX|1|ST|1^A^LN||a||||||Q")
    assert not [one for one in result.resources if one["resourceType"] == "Observation"]
    assert "result" not in only(result, "DiagnosticReport")
    assert any("status is required" in one.detail for one in result.issues)


def test_bad_value_is_an_issue_and_the_rest_is_mapped() -> None:
    result = mapped(MSH, PID.replace("19700102", "19701302"))
    patient = only(result, "Patient")
    assert "birthDate" not in patient
    assert patient["gender"] == "female"
    (issue,) = [one for one in result.issues if one.code is IssueCode.BAD_VALUE]
    assert (issue.where, issue.rule) == ("PID-7", "PID[Patient]/birth-date")
    assert "1970" not in issue.detail


def test_values_that_no_rule_reads_are_listed_and_counted() -> None:
    result = mapped(MSH, PID, "ZPD|1|x^y", "ZPD|2")
    unmapped = {
        one.where: one.detail for one in result.issues if one.code is IssueCode.UNMAPPED_FIELD
    }
    assert unmapped["PID-1"] == "set id"
    assert unmapped["ZPD-1"] == "2 times"
    assert {"PID-11.1", "PID-11.3", "PID-5.1.2", "ZPD-2.1", "ZPD-2.2"} <= unmapped.keys()
    assert not {"PID-7", "PID-3", "PID-3.1", "PID-3.5", "PID-8"} & unmapped.keys()
    assert [one.where for one in result.issues if one.code is IssueCode.UNKNOWN_SEGMENT] == ["ZPD"]


def test_message_without_a_document_fails_and_says_why() -> None:
    result = mapped(MSH.replace("ADT^A01^ADT_A01", "QRY^Z99^"), PID)
    assert result.failed
    assert any(one.code is IssueCode.UNSUPPORTED for one in result.issues)


def test_each_value_explains_itself() -> None:
    site = layer(
        segments__pid="segment: PID[Patient]\noverride:\n- {id: gender, from: PID-8, to: gender, const: other}"
    )
    result = mapped(MSH, PID, using=mapper(site), context=MapContext(tenant="north", explain=True))
    origins = {one.path: one for one in result.origins[str(only(result, "Patient")["id"])]}
    assert origins["Patient.name[1].family"].source == "PID-5[2].1.1"
    assert origins["Patient.name[1].family"].rule == "XPN[HumanName]/family"
    assert (origins["Patient.gender"].layer, origins["Patient.birthDate"].layer) == ("site", "std")


def test_nulls_and_control_characters_are_no_values() -> None:
    result = mapped(MSH, PID.replace("Doe&van^Jane", '""^Ja\x01ne').replace("|F|", '|""|'))
    patient = only(result, "Patient")
    assert patient["name"][0]["given"] == ["Jane", "Q"]
    assert "family" not in patient["name"][0]
    assert "gender" not in patient


def test_extension_of_a_primitive_is_written_beside_it() -> None:
    patient = only(mapped(MSH, PID.replace("19700102", "197001020304+0000")), "Patient")
    assert patient["birthDate"] == "1970-01-02"
    assert patient["_birthDate"] == {
        "extension": [
            {
                "url": "http://hl7.org/fhir/StructureDefinition/patient-birthTime",
                "valueDateTime": "1970-01-02T03:04:00+00:00",
            }
        ]
    }


def test_choice_gives_way_to_the_later_type() -> None:
    period = REPORT.replace("|20260101|", "|20260101|20260102")
    report = only(mapped(ORU, PID, period), "DiagnosticReport")
    assert report["effectivePeriod"] == {"start": "2026-01-01", "end": "2026-01-02"}
    assert "effectiveDateTime" not in report


def test_remembered_codes_are_not_shared_between_messages() -> None:
    using = mapper()
    first = only(mapped(ORU, PID, REPORT, using=using), "DiagnosticReport")
    first["code"]["coding"].append("spoiled")
    second = only(mapped(ORU, PID, REPORT, using=using), "DiagnosticReport")
    assert second["code"]["coding"] == [
        {"code": "24331-1", "display": "Lipid", "system": "http://loinc.org"}
    ]


def test_labels_are_kept_apart_within_repeated_elements() -> None:
    site = layer(
        segments__pid="""
segment: PID[Patient]
rules:
  - {id: contact, from: "PID-5[*]", to: "contact[].telecom[phone].value", as: string}
  - {id: contact-use, from: "PID-5[*]", to: "contact[].telecom[phone].use", const: home}
"""
    )
    contacts = only(mapped(MSH, PID, using=mapper(site)), "Patient")["contact"]
    assert contacts == [
        {"telecom": [{"value": "Doe", "use": "home"}]},
        {"telecom": [{"value": "Roe", "use": "home"}]},
    ]
