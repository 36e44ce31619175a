"""Laboratory reports and notifications to public health authorities, as their implementation guides shape them. Made up."""

# ruff: noqa: E501 - a segment or a resource reads best as one line
from __future__ import annotations

from synthetic_segments import Writer
from synthetic_terms import MICROBIOLOGY, PANELS, Term

CLIA = "CLIA&2.16.840.1.113883.4.7&ISO"
NPI = "NPI&2.16.840.1.113883.4.6&ISO"
LOINC_OID, SNOMED_OID = "2.16.840.1.113883.6.1", "2.16.840.1.113883.6.96"
FINDINGS = (
    "10828004^Positive^SCT", "260385009^Negative^SCT", "260373001^Detected^SCT", "260415000^Not detected^SCT", "82334004^Indeterminate^SCT",
    "373121007^Test not done^SCT", "112283007^Escherichia coli^SCT", "3092008^Staphylococcus aureus^SCT", "27268008^Salmonella^SCT",
)  # fmt: skip
SPECIMENS = (
    "258500001^Nasopharyngeal swab^SCT", "445297001^Swab of internal nose^SCT", "119297000^Blood specimen^SCT", "122575003^Urine specimen^SCT",
    "119364003^Serum specimen^SCT", "119339001^Stool specimen^SCT", "258580003^Whole blood sample^SCT", "119334006^Sputum specimen^SCT",
)  # fmt: skip
ASKED = (
    "95418-0^Whether patient is employed in a healthcare setting^LN", "95417-2^First test for condition of interest^LN", "95421-4^Resides in a congregate care setting^LN",
    "95419-8^Has symptoms related to condition of interest^LN", "65222-2^Date and time of symptom onset^LN", "77974-4^Patient was hospitalized because of this condition^LN",
    "82810-3^Pregnancy status^LN", "30525-0^Age^LN", "21612-7^Age - Reported^LN",
)  # fmt: skip
QUESTIONS = (
    "INV169^Condition Code^2.16.840.1.114222.4.5.232", "NOT109^Reporting State^2.16.840.1.114222.4.5.232", "77966-0^Reporting State^LN", "77968-6^National Reporting Jurisdiction^LN",
    "77989-2^Transmission Mode^LN", "77990-0^Case Class Status Code^LN", "77991-8^MMWR Week^LN", "77992-6^MMWR Year^LN", "77993-4^State Case Identifier^LN", "77965-2^Immediate National Notifiable Condition^LN",
    "77998-3^Age at Case Investigation^LN", "78746-5^Country of Birth^LN", "77983-5^Country of Usual Residence^LN", "77970-2^Date First Reported to PHD^LN", "11368-8^Illness Onset Date^LN", "77975-1^Diagnosis Date^LN", "77978-5^Subject Died^LN",
    "77972-8^Date of first report to county^LN", "77974-4^Hospitalized^LN", "8656-1^Admission Date^LN", "8649-6^Discharge Date^LN", "77980-1^Case Disease Imported Code^LN", "77982-7^City of Exposure^LN", "DEM153^Detailed Race^2.16.840.1.114222.4.5.232",
)  # fmt: skip


def laboratory(w: Writer) -> list[str]:
    """A report of a laboratory: ELR 2.5.1 in its length."""
    c = w.chance
    lab = f"{w.habit.facility} LABORATORY"
    oid = f"2.16.840.1.113883.3.{w.number(4)}"
    head = (
        f"MSH|^~\\&|{w.habit.application}^{oid}^ISO|{lab}^{w.number(2)}D{w.number(7)}^CLIA|{w.habit.partner}^2.16.840.1.114222.4.1.{w.number(5)}^ISO|STATE HD^2.16.840.1.114222.4.1.{w.number(5)}^ISO"
        f"|{w.time()}||ORU^R01^ORU_R01|{w.number(12)}|{c.choice('PTD')}|2.5.1|||NE|NE|USA|UNICODE UTF-8|||PHLabReport-NoAck^ELR_Receiver^2.16.840.1.113883.9.11^ISO"
    )
    authority = f"{w.habit.facility}&{oid}&ISO"
    pid = (
        f"PID|1||{w.mrn}^^^{authority}^{c.choice(('PI', 'MR', 'PT'))}^{authority}||{w.family}^{w.given}^{w.maybe('A', 0.3)}^^^^L||19{w.number(2)}0{c.randint(1, 9)}{c.randint(10, 28)}|{c.choice('MFU')}||"
        f"{c.choice(('2106-3^White^HL70005^^^^2.5.1', '2054-5^Black or African American^HL70005', '2131-1^Other Race^HL70005', '2028-9^Asian^HL70005', 'UNK^Unknown^NULLFL', '1002-5^American Indian or Alaska Native^HL70005', '2076-8^Native Hawaiian or Other Pacific Islander^HL70005'))}"
        f"|{c.randint(1, 9999)} Example Street^^Sampletown^ZZ^{w.number(5)}^USA^{c.choice('HC')}^^{w.number(5)}||^PRN^PH^^1^555^{w.number(7)}|||||||||"
        f"{c.choice(('N^Non Hispanic or Latino^HL70189^^^^2.9', 'H^Hispanic or Latino^HL70189', 'U^Unknown^HL70189', 'NH^Not Hispanic or Latino^HL70189'))}||||||||N"
    )
    doctor = f"{w.number(10)}^{w.family}^{w.given}^^^^^^{NPI}^L^^^NPI"
    place = f"{lab}^L^^^^{CLIA}^XX^^^{w.number(2)}D{w.number(7)}"
    address = f"{c.randint(1, 999)} Lab Road^^Sampletown^ZZ^{w.number(5)}^USA^B"
    ids = f"{w.order}^{w.habit.application}^{oid}^ISO|{w.filler}^{lab}^{w.number(2)}D{w.number(7)}^CLIA"
    test = c.choice((*MICROBIOLOGY, *c.choice(PANELS).tests))
    lines = [
        head,
        f"SFT|{w.habit.facility} Software^L^^^^{authority}^XX^^^{w.number(5)}|1.{c.randint(0, 9)}|{w.habit.application}|{w.number(5)}||{w.time()}",
        pid,
    ]
    lines += (
        [
            f"NTE|1|L|{c.choice(('Patient comment', 'Original submission', 'Synthetic'))}|RE^Remark^HL70364^^^^2.5.1"
        ]
        if c.random() < 0.2
        else []
    )
    lines += (
        [
            f"PV1|1|{c.choice('OEIU')}||{c.choice(('R^Routine^HL70007', 'E'))}||||||||||||||||||||||||||||||||||||||||{w.time()}"
        ]
        if c.random() < 0.4
        else []
    )
    lines.append(
        f"ORC|RE|{ids}|{w.number(6)}^{oid}^ISO||||||||{doctor}||^WPN^PH^^1^555^{w.number(7)}|{w.time()}||||||{w.habit.facility} CLINIC^L^^^^{authority}^XX^^^{w.number(5)}|{address}|^WPN^PH^^1^555^{w.number(7)}|{address}"
    )
    lines.append(
        f"OBR|1|{ids}|{test.code}^{test.text}^LN^{w.number(4)}^{test.text}^L^2.70||{w.time()}|{w.time()}|{w.time()}||||||||{doctor}|^WPN^PH^^1^555^{w.number(7)}|||||{w.time()}|||{c.choice('FFCP')}||||||{w.maybe('B20^AIDS^I10C', 0.1)}"
    )
    coded = f"CWE|{test.code}^{test.text}^LN^{w.number(4)}^{test.text}^L^2.70||{c.choice(FINDINGS)}^^^^20210301||"
    value = f"{c.choice(('NM', 'SN'))}|{test.code}^{test.text}^LN||{c.choice(('^', ''))}{c.randint(1, 400)}|ug/dL^microgram per deciliter^UCUM^^^^1.1|0-5"
    lines.append(
        f"OBX|1|{c.choice((coded, value))}|{c.choice(('A^Abnormal^HL70078^^^^2.7', 'N^Normal^HL70078', 'H^High^HL70078'))}|||{c.choice('FFPC')}|||{w.time()}|{w.number(2)}D{w.number(7)}^{lab}^CLIA||{w.number(6)}^{c.choice(('Instrument', 'Assay_ID'))}^99ELR||{w.time()}||||{place}|{address}"
    )
    for number, asked in enumerate(c.sample(ASKED, k=c.randint(0, 4)), start=2):
        answer = c.choice(
            (
                "CWE|{}||N^No^HL70136",
                "CWE|{}||Y^Yes^HL70136",
                "CWE|{}||UNK^Unknown^NULLFL",
                "NM|{}||51|a^year^UCUM",
            )
        ).format(asked)
        lines.append(
            f"OBX|{number}|{answer}||||||F|||{w.time()}|||||{w.time()}||||{place}|{address}|||||QST"
        )
    lines.append(
        f"SPM|1|{w.number(8)}&{lab}&{oid}&ISO^{w.number(8)}&{lab}&{oid}&ISO||{c.choice(SPECIMENS)}^^^^2.67||||{c.choice(('71836000^Nasopharyngeal structure (body structure)^SCT', ''))}|||||||||{w.time()}^{w.time()}|{w.time()}"
    )
    return lines


def notification(w: Writer) -> list[str]:
    """A notification of a case."""
    c = w.chance
    oid = "2.16.840.1.114222.4.1.144.2"
    lines = [
        f"MSH|^~\\&|SENDAPP^2.16.840.1.114222.4.1.{w.number(6)}^ISO|SENDFAC^2.16.840.1.114222.4.1.{w.number(4)}^ISO|PHINCDS^2.16.840.1.114222.4.3.2.10^ISO|PHIN^2.16.840.1.114222^ISO|{w.time()}||ORU^R01^ORU_R01|{w.number(10)}|{c.choice('PTD')}|2.5.1"
        "|||||||||NOTF_ORU_v3.0^PHINProfileID^2.16.840.1.114222.4.10.3^ISO~Generic_MMG_V2.0^PHINMsgMapID^2.16.840.1.114222.4.10.4^ISO",
        f"PID|1||{w.number(8)}^^^SENDAPP&2.16.840.1.114222.GENv2&ISO||~^^^^^^S||{c.randint(1930, 2020)}0{c.randint(1, 9)}{c.randint(10, 28)}|{c.choice('MF')}||2106-3^White^CDCREC|^^^{w.number(2)}^{w.number(5)}^^^^{w.number(5)}|||||||||||2186-5^Not Hispanic or Latino^CDCREC",
        f"OBR|1||{w.number(8)}^SENDAPP^{oid}^ISO|68991-9^Epidemiologic Information^LN|||{w.time()}|||||||||||||||{w.time()}|||F||||||{w.number(5)}^Condition^NND",
    ]
    for number, question in enumerate(c.sample(QUESTIONS, k=c.randint(6, len(QUESTIONS))), start=1):
        answer = c.choice(
            (
                "CWE|{}||Y^Yes^HL70136",
                "CWE|{}||N^No^HL70136",
                "CWE|{}||UNK^unknown^NULLFL",
                "CWE|{}||USA^United States^ISO3166_1",
                "TS|{}||" + w.time(),
                "ST|{}||" + w.number(8),
                "SN|{}||^" + w.number(2) + "|a^year [time]^UCUM",
                "DT|{}||2020",
            )
        ).format(question)
        lines.append(f"OBX|{number}|{answer}||||||F")
    lines.append(
        f"OBR|2||{w.number(8)}^SENDAPP^{oid}^ISO|PERSUBJ^Person Subject^2.16.840.1.114222.4.5.274|||{w.time()}|||||||||||||||{w.time()}|||F"
    )
    return lines


def coded_result(w: Writer) -> list[str]:
    """A result as interfaces of vendors write it: local codes beside standard ones, long universal ids."""
    c = w.chance
    panel = c.choice(PANELS)
    lines = [w.msh("ORU", "R01", "ORU_R01"), w.pid(), w.pv1(), w.orc("RE", "CM")]
    name = Term(panel.order.code, panel.order.text, LOINC_OID if c.random() < 0.5 else "LN")
    lines.append(
        f"OBR|1|{w.order}|{w.filler}|{w.number(4)}^{name.text}^99LAB^{name.code}^{name.text}^{name.system}|R||{w.time()}|||||||{w.time()}|BLOOD^Blood^HL70070|{w.doctor()}||||||{w.time()}||LAB|F||^^^^^R"
    )
    for number, test in enumerate(c.sample(panel.tests, k=min(4, len(panel.tests))), start=1):
        lines.append(
            f"OBX|{number}|NM|{w.number(4)}^{test.text.upper()}^99LAB^{test.code}^{test.text}^LN||{c.uniform(1, 200):.1f}|mg/dL^Milligrams per deciliter^UCUM|{c.randint(1, 50)} - {c.randint(51, 200)}|{c.choice(('N', 'H', 'L', 'Normal'))}|||F|||{w.time()}||{w.number(5)}^TECH^EXAMPLE"
        )
        lines += (
            [
                f"NTE|1||{c.choice(('Reference range for adults', 'Performed at main laboratory', 'Fasting sample'))}"
            ]
            if c.random() < 0.3
            else []
        )
    return lines
