"""How the FHIR view of a message is named on the mesh: domain and event by MSH-9 (HL7 table 0003)."""

from __future__ import annotations

from typing import Final

from schemas.subjects import Domain

_ADT: Final = {
    "A01": (Domain.PATIENT, "admitted"),
    "A02": (Domain.PATIENT, "transferred"),
    "A03": (Domain.PATIENT, "discharged"),
    "A04": (Domain.PATIENT, "registered"),
    "A05": (Domain.PATIENT, "preadmitted"),
    "A06": (Domain.PATIENT, "became-inpatient"),
    "A07": (Domain.PATIENT, "became-outpatient"),
    "A08": (Domain.PATIENT, "updated"),
    "A09": (Domain.PATIENT, "departed"),
    "A10": (Domain.PATIENT, "arrived"),
    "A11": (Domain.PATIENT, "admission-cancelled"),
    "A12": (Domain.PATIENT, "transfer-cancelled"),
    "A13": (Domain.PATIENT, "discharge-cancelled"),
    "A14": (Domain.PATIENT, "admission-pending"),
    "A15": (Domain.PATIENT, "transfer-pending"),
    "A16": (Domain.PATIENT, "discharge-pending"),
    "A17": (Domain.PATIENT, "swapped"),
    "A18": (Domain.PATIENT, "merged"),
    "A20": (Domain.ENCOUNTER, "bed-updated"),
    "A21": (Domain.ENCOUNTER, "leave-started"),
    "A22": (Domain.ENCOUNTER, "leave-ended"),
    "A23": (Domain.ENCOUNTER, "deleted"),
    "A24": (Domain.PATIENT, "linked"),
    "A25": (Domain.PATIENT, "discharge-pending-cancelled"),
    "A26": (Domain.PATIENT, "transfer-pending-cancelled"),
    "A27": (Domain.PATIENT, "admission-pending-cancelled"),
    "A28": (Domain.PATIENT, "added"),
    "A29": (Domain.PATIENT, "deleted"),
    "A30": (Domain.PATIENT, "merged"),
    "A31": (Domain.PATIENT, "updated"),
    "A32": (Domain.PATIENT, "arrival-cancelled"),
    "A33": (Domain.PATIENT, "departure-cancelled"),
    "A34": (Domain.PATIENT, "merged"),
    "A35": (Domain.PATIENT, "merged"),
    "A36": (Domain.PATIENT, "merged"),
    "A37": (Domain.PATIENT, "unlinked"),
    "A38": (Domain.PATIENT, "preadmission-cancelled"),
    "A39": (Domain.PATIENT, "merged"),
    "A40": (Domain.PATIENT, "merged"),
    "A41": (Domain.ENCOUNTER, "merged"),
    "A42": (Domain.ENCOUNTER, "merged"),
    "A43": (Domain.PATIENT, "identifier-moved"),
    "A44": (Domain.ENCOUNTER, "moved"),
    "A45": (Domain.ENCOUNTER, "moved"),
    "A46": (Domain.PATIENT, "identifier-changed"),
    "A47": (Domain.PATIENT, "identifier-changed"),
    "A48": (Domain.PATIENT, "identifier-changed"),
    "A49": (Domain.PATIENT, "identifier-changed"),
    "A50": (Domain.ENCOUNTER, "identifier-changed"),
    "A51": (Domain.ENCOUNTER, "identifier-changed"),
    "A60": (Domain.PATIENT, "allergies-updated"),
}
_SCHEDULE: Final = {
    "S12": "booked",
    "S13": "rescheduled",
    "S14": "modified",
    "S15": "cancelled",
    "S16": "discontinued",
    "S17": "deleted",
    "S26": "missed",
}
_BILLING: Final = {
    "P01": "account-opened",
    "P02": "accounts-purged",
    "P03": "charged",
    "P05": "account-updated",
    "P06": "account-closed",
    "P10": "grouped",
    "P11": "charged",
    "P12": "diagnosis-updated",
}
_DOCUMENT: Final = {
    "T03": "status-changed",
    "T04": "status-changed",
    "T05": "amended",
    "T06": "amended",
    "T07": "edited",
    "T08": "edited",
    "T09": "replaced",
    "T10": "replaced",
    "T11": "cancelled",
}
_OF_A_TYPE: Final = {
    "ADT": (Domain.PATIENT, "updated"),
    "SIU": (Domain.SCHEDULE, "changed"),
    "DFT": (Domain.BILLING, "charged"),
    "BAR": (Domain.BILLING, "account-updated"),
    "MDM": (Domain.DOCUMENT, "added"),
    "ORU": (Domain.RESULT, "reported"),
    "OUL": (Domain.RESULT, "reported"),
    "ORM": (Domain.ORDER, "ordered"),
    "OMG": (Domain.ORDER, "ordered"),
    "OML": (Domain.ORDER, "ordered"),
    "OMI": (Domain.IMAGING, "ordered"),
    "ORL": (Domain.ORDER, "answered"),
    "ORG": (Domain.ORDER, "answered"),
    "ORR": (Domain.ORDER, "answered"),
    "ORI": (Domain.IMAGING, "answered"),
    "RDE": (Domain.MEDICATION, "prescribed"),
    "OMP": (Domain.MEDICATION, "prescribed"),
    "RDS": (Domain.MEDICATION, "dispensed"),
    "RGV": (Domain.MEDICATION, "given"),
    "RAS": (Domain.MEDICATION, "given"),
    "VXU": (Domain.MEDICATION, "vaccinated"),
    "REF": (Domain.ORDER, "referred"),
    "PPR": (Domain.PATIENT, "problems-updated"),
}
_OTHER: Final = (Domain.PATIENT, "other")
_OF_AN_EVENT: Final = {
    **{("ADT", trigger): name for trigger, name in _ADT.items()},
    **{("SIU", trigger): (Domain.SCHEDULE, event) for trigger, event in _SCHEDULE.items()},
    **{
        (code, trigger): (Domain.BILLING, event)
        for code in ("BAR", "DFT")
        for trigger, event in _BILLING.items()
    },
    **{("MDM", trigger): (Domain.DOCUMENT, event) for trigger, event in _DOCUMENT.items()},
}
DOMAINS: Final = tuple(
    sorted({domain for domain, _ in [*_OF_A_TYPE.values(), *_OF_AN_EVENT.values()]})
)
"""Every domain in which a view may be published."""


def event_name(message_type: str) -> tuple[Domain, str]:
    """Domain and event for `ADT^A01^ADT_A01`; `patient.other` for a type that has none: no content enters a subject."""
    code, _, rest = message_type.partition("^")
    trigger = rest.partition("^")[0]
    return _OF_AN_EVENT.get((code, trigger)) or _OF_A_TYPE.get(code, _OTHER)


__all__ = ["DOMAINS", "event_name"]
