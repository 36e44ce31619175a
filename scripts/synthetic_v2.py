"""HL7 v2 messages of a country that does not exist, of many kinds, for training dictionaries. See `synthetic_segments`."""

# ruff: noqa: E501 - a segment or a resource reads best as one line
from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from synthetic_reports import coded_result, laboratory, notification
from synthetic_segments import WARDS, Writer
from synthetic_terms import DIAGNOSES, DRUGS, PANELS, PROCEDURES, VACCINES


def adt(w: Writer) -> list[str]:
    """Admission, discharge, transfer."""
    event, structure = w.chance.choice(
        (("A01", "ADT_A01"), ("A02", "ADT_A02"), ("A03", "ADT_A03"), ("A04", "ADT_A01"), ("A05", "ADT_A05"),
         ("A06", "ADT_A06"), ("A08", "ADT_A01"), ("A08", "ADT_A01"), ("A11", "ADT_A09"), ("A12", "ADT_A12"),
         ("A13", "ADT_A01"), ("A28", "ADT_A05"), ("A31", "ADT_A05"), ("A60", "ADT_A60"))
    )  # fmt: skip
    lines = [w.msh("ADT", event, structure), w.evn(event), w.pid()]
    if w.chance.random() < 0.4:
        lines.append(f"PD1|||{w.habit.facility} CLINIC^^{w.number(4)}|{w.doctor()}")
    if w.chance.random() < 0.5:
        lines.append(w.next_of_kin())
    return [*lines, w.pv1(), *w.visit_details()]


def merge(w: Writer) -> list[str]:
    """A merge of patients."""
    return [
        w.msh("ADT", "A40", "ADT_A39"), w.evn("A40"), w.pid(),
        f"MRG|{w.number(6)}^^^{w.habit.assigner}^MR||||||{w.family}^{w.given}",
    ]  # fmt: skip


def oru(w: Writer) -> list[str]:
    """Results."""
    panel = w.chance.choice(PANELS)
    lines = [
        w.msh("ORU", "R01", "ORU_R01"),
        w.pid(),
        *([w.pv1()] if w.chance.random() < 0.7 else []),
    ]
    lines += [w.orc("RE", "CM")] if w.chance.random() < 0.7 else []
    lines.append(w.obr(1, panel.order, result=True))
    tests = w.chance.sample(panel.tests, k=w.chance.randint(1, len(panel.tests)))
    lines += [w.obx(n + 1, test) for n, test in enumerate(tests)]
    if w.chance.random() < 0.3:
        lines.append(w.text(len(tests) + 1))
    if w.chance.random() < 0.25:
        lines.append(w.note())
    if w.chance.random() < 0.2:
        lines.append(
            f"SPM|1|{w.number(6)}||119297000^Blood specimen^SCT^BLD^Whole blood^HL70487|||||||||||||{w.time()}|{w.time()}"
        )
    return lines


def order(w: Writer) -> list[str]:
    """An order of tests or images."""
    kind, event, structure = w.chance.choice(
        (
            ("ORM", "O01", "ORM_O01"),
            ("OML", "O21", "OML_O21"),
            ("OMG", "O19", "OMG_O19"),
            ("OMI", "O23", "OMI_O23"),
            ("ORL", "O22", "ORL_O22"),
        )
    )
    control = w.chance.choice(("NW", "NW", "CA", "XO", "SC", "OK"))
    lines = [w.msh(kind, event, structure)]
    lines += [f"MSA|AA|{w.number(8)}"] if kind == "ORL" else []
    lines += [w.pid(), w.pv1(), w.orc(control, w.chance.choice(("", "SC", "IP", "CM", "CA")))]
    if kind != "ORM":
        lines.append(
            f"TQ1|1||||||{w.time()}||{w.chance.choice(('R^Routine^HL70485', 'S^Stat^HL70485'))}"
        )
    lines.append(
        w.obr(
            1, w.chance.choice((w.chance.choice(PANELS).order, w.choose(PROCEDURES))), result=False
        )
    )
    lines += [w.note()] if w.chance.random() < 0.4 else []
    lines += [f"DG1|1||{w.term(w.choose(DIAGNOSES))}"] if w.chance.random() < 0.4 else []
    return lines


def schedule(w: Writer) -> list[str]:
    """An appointment."""
    event = w.chance.choice(("S12", "S13", "S14", "S15", "S26"))
    when = w.time()
    return [
        w.msh("SIU", event, "SIU_S12"),
        f"SCH|{w.order}^{w.habit.application}|{w.filler}^{w.habit.partner}||||{event}|CHECKUP^Check-up^L|ROUTINE^Routine^HL70277|30|MIN^Minutes^UCUM"
        f"|^^30^{when}^{when}|||||{w.doctor()}|{w.phone()}|||{w.doctor()}|||||{w.chance.choice(('BOOKED', 'Booked^Booked^HL70278', 'CANCELLED'))}",
        w.pid(), w.pv1(), "RGS|1|A",
        f"AIS|1|A|{w.term(w.choose(PROCEDURES))}|{when}|15|MIN",
        f"AIG|1|A|{w.doctor()}|P^Physician^L",
        f"AIL|1|A|{w.chance.choice(WARDS)}^{w.number(3)}^^{w.habit.facility}|^Main Office||{when}|||30|m^Minutes",
        f"AIP|1|A|{w.doctor()}|D^Doctor^HL70286||{when}|||15|MIN",
    ]  # fmt: skip


def document(w: Writer) -> list[str]:
    """A document."""
    event = w.chance.choice(("T01", "T02", "T02", "T08", "T11"))
    kind = w.chance.choice(
        (
            "DS^Discharge summary^HL70270",
            "HP^History and physical examination^HL70270",
            "CN^Consultation^HL70270",
            "OP^Operative report",
        )
    )
    return [
        w.msh("MDM", event, "MDM_T02"), w.evn(event), w.pid(), w.pv1(),
        f"TXA|1|{kind}|{w.chance.choice(('TX', 'FT', 'AP'))}|{w.time()}|{w.doctor()}|{w.time()}|{w.time()}||||{w.doctor()}|{w.number(8)}^{w.habit.application}||||DOC{w.number(5)}|AU||AV",
        *(w.text(n + 1) for n in range(w.chance.randint(1, 4))),
    ]  # fmt: skip


def vaccination(w: Writer) -> list[str]:
    """Vaccinations."""
    lines = [
        w.msh("VXU", "V04", "VXU_V04"),
        w.pid(),
        f"PD1|||||||||||02^Reminder/Recall - any method^HL70215|N|{w.time()[:8]}|||A|{w.time()[:8]}",
        w.next_of_kin(),
    ]
    for _ in range(w.chance.randint(1, 3)):
        vaccine = w.choose(VACCINES)
        lines += [
            w.orc("RE"),
            f"RXA|0|1|{w.time()}|{w.time()}|{w.term(vaccine)}|{w.chance.choice(('0.5', '0.25', '999'))}|mL^Milliliter^UCUM||00^New immunization record^NIP001"
            f"|{w.doctor()}|^^^{w.habit.facility}||||{w.number(6)}|20301231|MSD^Merck and Co., Inc.^MVX|||CP|A",
            "RXR|IM^Intramuscular^HL70162|LD^Left Deltoid^HL70163" if w.chance.random() < 0.5 else "RXR|C28161^Intramuscular^NCIT|RA^Right Arm^HL70163",
            f"OBX|1|CE|64994-7^Vaccine funding program eligibility category^LN|1|V01^Not VFC eligible^HL70064||||||F|||{w.time()[:8]}|||VXC40^Eligibility captured at the immunization level^CDCPHINVS",
            f"OBX|2|CE|30956-7^Vaccine type^LN|2|{w.term(vaccine)}||||||F",
            f"OBX|3|TS|29768-9^Date vaccine information statement published^LN|2|{w.time()[:8]}||||||F",
        ]  # fmt: skip
    return lines


def pharmacy(w: Writer) -> list[str]:
    """A drug order or its dispense."""
    drug, unit = w.choose(DRUGS), w.chance.choice(("MG^Milligram^UCUM", "mg", "TAB^Tablet", "mL"))
    lines = [w.msh("RDE", "O11", "RDE_O11"), w.pid(), w.pv1(), w.orc("NW")]
    lines.append(
        f"RXE|1^^^{w.time()}^^R|{w.term(drug)}|{w.chance.choice(('1', '2', '250', '500'))}||{unit}|{w.chance.choice(('TAB', 'CAP^Capsule', ''))}"
        f"|^{w.chance.choice(('Take one tablet by mouth daily', 'BID', 'QID PRN'))}|||{w.chance.choice(('30', '60', '90'))}||{w.chance.randint(0, 5)}||{w.doctor()}|RX{w.number(6)}"
    )
    if w.chance.random() < 0.3:
        lines = [w.msh("RDS", "O13", "RDS_O13"), w.pid(), w.pv1(), w.orc("RE")]
        lines.append(f"RXD|1|{w.term(drug)}|{w.time()}|30|{unit}|TAB|RX{w.number(6)}|1")
    return [
        *lines,
        "RXR|PO^Oral^HL70162" if w.chance.random() < 0.6 else "RXR|IV^Intravenous^HL70162",
        "TQ1|1||QD||||||R",
    ]


def billing(w: Writer) -> list[str]:
    """Charges and accounts."""
    if w.chance.random() < 0.5:
        return [
            w.msh("BAR", "P01", "BAR_P01"),
            w.evn("P01"),
            w.pid(),
            w.pv1(),
            f"DG1|1||{w.term(w.choose(DIAGNOSES))}",
            *w.insurance(),
        ]
    return [
        w.msh("DFT", "P03", "DFT_P03"), w.evn("P03"), w.pid(), w.pv1(),
        f"FT1|1|{w.number(6)}||{w.time()}|{w.time()}|CG|{w.number(5)}^{w.choose(PROCEDURES).text}||||{w.chance.randint(1, 3)}|{w.chance.randint(20, 900)}.00^USD|||||||{w.term(w.choose(DIAGNOSES))}|{w.doctor()}|||||{w.term(w.choose(PROCEDURES))}",
    ]  # fmt: skip


def referral(w: Writer) -> list[str]:
    """A referral, or a problem."""
    if w.chance.random() < 0.5:
        return [
            w.msh("REF", "I12", "REF_I12"), "RF1|P^Pending^HL70283|R^Routine^HL70280|MED^Medical^HL70281|WR||" + w.number(6) + "|" + w.time(),
            f"PRD|RP^Referring Provider^HL70286|{w.name()}|{w.address()}||{w.phone()}", w.pid(), f"DG1|1||{w.term(w.choose(DIAGNOSES))}",
        ]  # fmt: skip
    return [
        w.msh("PPR", "PC1", "PPR_PC1"),
        w.pid(),
        w.pv1(),
        f"PRB|AD|{w.time()}|{w.term(w.choose(DIAGNOSES))}|{w.number(6)}^{w.habit.application}||||||||||A^Active",
    ]


def acknowledgement(w: Writer) -> list[str]:
    """An answer."""
    code = w.chance.choice(("AA", "AA", "CA", "AE", "AR"))
    lines = [w.msh("ACK", "A01", "ACK"), f"MSA|{code}|{w.number(8)}"]
    return (
        [*lines, "ERR||PID^1^3|101^Required field missing^HL70357|E||||Required field missing"]
        if code in ("AE", "AR")
        else lines
    )


KINDS: tuple[tuple[Callable[[Writer], list[str]], int], ...] = (
    (laboratory, 10), (notification, 3), (coded_result, 6),
    (adt, 30), (oru, 28), (order, 14), (schedule, 6), (document, 5), (vaccination, 4), (pharmacy, 6), (billing, 4), (referral, 2),
    (merge, 2), (acknowledgement, 2),
)  # fmt: skip


def messages(count: int, *, seed: int) -> Iterator[bytes]:
    """So many messages of all kinds, the frequent ones more often."""
    chance = Random(seed)
    builders, weights = zip(*KINDS, strict=True)
    for _ in range(count):
        (build,) = chance.choices(builders, weights)
        lines = build(Writer(chance))
        yield ("\r".join(line.rstrip("|") for line in lines) + "\r").encode()
