"""Segments of HL7 v2 messages of a country that does not exist: many versions and habits, for training dictionaries.

Every name, number and address is made up here; nothing was taken from messages of others. The same seed gives the same
bytes. What is meant to be learned is what all messages share: segments, delimiters, names of code systems, common codes.
"""

# ruff: noqa: E501 - a segment or a resource reads best as one line
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from synthetic_terms import (
    ALLERGIES,
    DIAGNOSES,
    PROCEDURES,
    SYNTHETIC_NAMES,
    UNITS,
    Term,
)

VERSIONS = ("2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.5.1", "2.5.1", "2.6", "2.7", "2.8")
CHARSETS = ("", "", "UNICODE UTF-8", "UNICODE UTF-8", "8859/1", "ASCII")
SYSTEMS = ("EMR", "HIS", "LAB", "LIS", "RIS", "PACS", "ADT", "PHARMACY", "SCHEDULING", "BILLING")
WARDS = ("4W", "ICU", "MAT", "SUR", "ORT", "ED", "MED", "PED", "CARD", "ONC")


@dataclass(frozen=True)
class Habit:
    """How one sending system writes."""

    version: str
    charset: str
    zone: str
    assigner: str
    """What stands in an identifier's assigning authority."""
    three: bool
    """Whether MSH-9 names the structure."""
    loinc: str
    application: str
    partner: str
    facility: str


def habit(chance: Random) -> Habit:
    """One system's habits."""
    facility = chance.choice(("TESTHOSP", "GENERAL", "CLINIC", "MERCY", "ST EXAMPLE", "MAIN"))
    oid = f"2.16.840.1.113883.3.{chance.randint(1, 9999)}"
    return Habit(
        version=chance.choice(VERSIONS),
        charset=chance.choice(CHARSETS),
        zone=chance.choice(("", "", "", "-0500", "+0100", "+0000", ".000-0500")),
        assigner=chance.choice(
            (facility, facility, "", f"{facility}&{oid}&ISO", f"&{oid}&ISO", "MRN")
        ),
        three=chance.random() < 0.75,
        loinc=chance.choice(("LN", "LN", "LN", "LOINC")),
        application=chance.choice(SYSTEMS),
        partner=chance.choice(SYSTEMS),
        facility=facility,
    )


class Writer:
    """One patient's messages in one system's habit."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.habit = habit(chance)
        self.family, self.given = chance.choice(SYNTHETIC_NAMES), chance.choice(SYNTHETIC_NAMES)
        self.mrn = self.number(6)
        self.visit = self.number(8)
        self.order, self.filler = self.number(8), self.number(8)

    # values

    def number(self, digits: int) -> str:
        """Digits."""
        return str(self.chance.randrange(10 ** (digits - 1), 10**digits))

    def time(self, *, zone: bool = True) -> str:
        """A time of this century."""
        c = self.chance
        day = f"20{c.randint(10, 29)}{c.randint(1, 12):02d}{c.randint(1, 28):02d}"
        clock = f"{c.randint(0, 23):02d}{c.randint(0, 59):02d}"
        seconds = f"{c.randint(0, 59):02d}" if c.random() < 0.8 else "00"
        return day + clock + seconds + (self.habit.zone if zone else "")

    def maybe(self, text: str, share: float = 0.5) -> str:
        """The text, or nothing."""
        return text if self.chance.random() < share else ""

    def name(self) -> str:
        """A person's name as XPN."""
        c = self.chance
        middle = self.maybe(c.choice("ABCDEFGHJKLMNPQRSTVW"))
        tail = c.choice(("", "", "^^^^L", "^JR^^^L", "^^^^^L"))
        return f"{c.choice(SYNTHETIC_NAMES)}^{c.choice(SYNTHETIC_NAMES)}^{middle}{tail}".rstrip("^")

    def doctor(self) -> str:
        """A doctor as XCN."""
        c = self.chance
        return (
            f"{self.number(c.choice((4, 6, 10)))}^{c.choice(SYNTHETIC_NAMES)}^{c.choice(SYNTHETIC_NAMES)}"
            + c.choice(
                (
                    "",
                    "^^^DR",
                    "^^^Dr.^^^NPI",
                    "^A^^^MD",
                    "^^^^^^^NPI&2.16.840.1.113883.4.6&ISO^L^^^NPI",
                    "^^^^MD",
                )
            )
        )

    def identifiers(self) -> str:
        """PID-3."""
        a = self.habit.assigner
        first = f"{self.mrn}^^^{a}^MR" + self.maybe(f"^{self.habit.facility}", 0.2)
        return (
            first
            + self.maybe(f"~{self.number(9)}^^^USSSA^SS", 0.3)
            + self.maybe(f"~{self.number(6)}^^^{a}^PI", 0.2)
        )

    def address(self) -> str:
        """A made-up address as XAD."""
        c = self.chance
        street = f"{c.randint(1, 999)} {c.choice(('EXAMPLE ST', 'Main Street', 'TEST AVE', 'Sample Road', 'OAK LANE'))}"
        country = c.choice(("USA", "US", "", "DEU", "GBR", "CAN"))
        return f"{street}^{self.maybe(f'APT {c.randint(1, 40)}', 0.2)}^SAMPLETOWN^ZZ^{self.number(5)}^{country}^H"

    def phone(self) -> str:
        """A phone number that nobody has, as XTN."""
        digits = f"555{self.number(7)}"
        kind = self.chance.choice(("PRN^PH", "PRN^CP", "WPN^PH"))
        return self.chance.choice(
            (f"^{kind}^^1^555^{digits[3:]}", f"({digits[:3]}){digits[3:6]}-{digits[6:]}", f"{digits}^{kind}",
             f"^{kind}^someone@example.com^1^555^{digits[3:]}")
        )  # fmt: skip

    def term(self, term: Term) -> str:
        """A code as CWE."""
        system = self.habit.loinc if term.system == "LN" else term.system
        local = self.maybe(f"^{self.number(5)}^{term.text.upper()}^L", 0.15)
        return f"{term.code}^{term.text}^{system}{local}"

    def choose(self, terms: Sequence[Term]) -> Term:
        """One of a list."""
        return self.chance.choice(terms)

    # segments

    def msh(self, kind: str, event: str, structure: str) -> str:
        """The header."""
        h = self.habit
        name = f"{kind}^{event}^{structure}" if h.three else f"{kind}^{event}"
        control = self.chance.choice(
            (self.number(8), f"MSG{self.number(5)}", f"{self.time(zone=False)}{self.number(4)}")
        )
        tail = self.chance.choice(
            (
                "",
                "|||AL|NE",
                "|||AL|NE||UNICODE UTF-8",
                "|||NE|AL|USA|ASCII|EN^English^ISO639",
                f"||||||{h.charset}",
            )
        )
        return (
            f"MSH|^~\\&|{h.application}|{h.facility}|{h.partner}|{h.facility}|{self.time()}|{self.maybe('SECURITY', 0.05)}"
            f"|{name}|{control}|{self.chance.choice('PPPT')}|{h.version}{tail}"
        )

    def evn(self, event: str) -> str:
        """The event."""
        return f"EVN|{self.maybe(event, 0.8)}|{self.time()}{self.maybe(f'|||{self.doctor()}|{self.time()}')}"

    def pid(self) -> str:
        """The patient."""
        c = self.chance
        sex = c.choice("FMFMUO")
        race = c.choice(
            (
                "",
                "2106-3^White^HL70005",
                "2054-5^Black or African American^HL70005",
                "2028-9^Asian^CDCREC",
            )
        )
        birth = f"{c.randint(1930, 2025)}{c.randint(1, 12):02d}{c.randint(1, 28):02d}"
        ethnic = c.choice(
            (
                "",
                "N^Not Hispanic or Latino^HL70189",
                "H^Hispanic or Latino^HL70189",
                "2186-5^Not Hispanic or Latino^CDCREC",
            )
        )
        return (
            f"PID|1|{self.maybe(self.number(9), 0.15)}|{self.identifiers()}|{self.maybe(self.number(7), 0.1)}"
            f"|{self.family}^{self.given}^{self.maybe('A', 0.3)}{c.choice(('', '^^^^L'))}|{self.maybe(self.name(), 0.1)}"
            f"|{birth}|{sex}|{self.maybe(self.name(), 0.1)}|{race}|{self.address()}|{self.maybe('ZZ', 0.1)}|{self.phone()}"
            f"|{self.maybe(self.phone(), 0.3)}|{c.choice(('', 'ENG^English^ISO639', 'en^English^HL70296', 'EN'))}"
            f"|{c.choice(('', 'M^Married^HL70002', 'S^Single^HL70002', 'M', 'S', 'D', 'W'))}|{c.choice(('', 'CHR^Christian^HL70006', 'NOE', 'CAT'))}"
            f"|{self.number(8)}^^^{self.habit.assigner}^AN|{self.maybe(self.number(9), 0.2)}|||{ethnic}"
            + c.choice(("", "", "||||||||N", "|||||||N|N", f"|||||||{self.time()}|Y"))
        )

    def pv1(self) -> str:
        """The visit."""
        c = self.chance
        place = f"{c.choice(WARDS)}^{c.randint(100, 499)}^{c.choice('12AB')}^{self.habit.facility}"
        doctor = self.doctor()
        tail = c.choice(
            (
                "",
                f"|||||||||||||||||||||||||{self.time()}",
                f"|||||||||||||||||||||||||{self.time()}|{self.time()}",
            )
        )
        return (
            f"PV1|1|{c.choice('IOEIOPR')}|{place}|{c.choice(('', 'R', 'E', 'C', 'U'))}|||{doctor}|{self.maybe(self.doctor(), 0.4)}"
            f"|{self.maybe(self.doctor(), 0.2)}|{c.choice(('MED', 'SUR', 'CAR', 'PUL', 'URO', ''))}||||{c.choice(('1', '7', 'PHY', ''))}"
            f"|{self.maybe('A0', 0.2)}||{self.maybe(doctor, 0.5)}|{c.choice(('INP', 'OUT', 'IP', 'OP', 'EMR', ''))}"
            f"|{self.visit}^^^{self.habit.assigner}^VN{tail}"
        )

    def visit_details(self) -> Iterator[str]:
        """What often follows PV1 in ADT."""
        c = self.chance
        if c.random() < 0.35:
            yield f"PV2||{self.maybe('PRIVATE', 0.3)}|^{self.choose(DIAGNOSES).text}"
        if c.random() < 0.3:
            yield f"OBX|1|NM|8302-2^Body height^{self.habit.loinc}||{c.randint(50, 200)}|cm^cm^UCUM|||||F|||{self.time()}"
            yield f"OBX|2|NM|29463-7^Body weight^{self.habit.loinc}||{c.randint(3, 140)}|kg^kg^UCUM|||||F|||{self.time()}"
        for number in range(c.choice((0, 0, 1, 2))):
            allergy = self.choose(ALLERGIES)
            kind = c.choice(
                ("DA^Drug allergy^HL70127", "DA", "FA", "FA^Food allergy^HL70127", "MA")
            )
            yield f"AL1|{number + 1}|{kind}|{self.term(allergy)}|{c.choice(('MO', 'SV', 'MI', 'U', 'MO^Moderate^HL70128'))}|{c.choice(('RASH', 'HIVES', 'ANAPHYLAXIS', 'Produces hives'))}"
        for number in range(c.choice((0, 1, 1, 3))):
            yield f"DG1|{number + 1}|{self.maybe('I10', 0.4)}|{self.term(self.choose(DIAGNOSES))}||{self.maybe(self.time(), 0.4)}|{c.choice(('A', 'W', 'F', 'A^Admitting^HL70052'))}"
        if c.random() < 0.2:
            yield f"PR1|1||{self.term(self.choose(PROCEDURES))}||{self.time()}"
        if c.random() < 0.35:
            yield from self.insurance()

    def next_of_kin(self) -> str:
        """A contact."""
        role = self.chance.choice(
            (
                "SPO^Spouse^HL70063",
                "MTH^Mother^HL70063",
                "FTH^Father^HL70063",
                "SPO",
                "EMC^Emergency contact^HL70131",
            )
        )
        return f"NK1|1|{self.name()}|{role}|{self.maybe(self.address())}|{self.phone()}{self.maybe('||EC^Emergency Contact^HL70131', 0.4)}"

    def insurance(self) -> Iterator[str]:
        """Guarantor and insurance."""
        yield f"GT1|1|{self.maybe(self.number(6))}|{self.name()}||{self.address()}|{self.phone()}||||SE|SLF^Self^HL70063"
        yield (
            f"IN1|1|{self.chance.choice(('PPO^Preferred', 'HMO', 'MCR^Medicare', 'PLAN1'))}|INS{self.number(3)}|TEST INSURER|"
            f"PO BOX 1^^SAMPLETOWN^ZZ^{self.number(5)}||{self.phone()}|GRP{self.number(4)}|||||||C|{self.name()}|SEL^Self^HL70063"
            f"||{self.address()}|||||||||||||||||{self.number(9)}"
        )

    def orc(self, control: str, status: str = "") -> str:
        """The common order."""
        return (
            f"ORC|{control}|{self.order}^{self.habit.application}|{self.maybe(f'{self.filler}^{self.habit.partner}', 0.7)}|{self.maybe(self.number(6), 0.3)}"
            f"|{status}||{self.maybe(f'^^^{self.time()}^^R', 0.4)}||{self.time()}|{self.maybe(self.doctor(), 0.4)}||{self.doctor()}"
            f"{self.maybe('|||||||||' + self.habit.facility, 0.2)}"
        )

    def obr(self, number: int, service: Term, *, result: bool) -> str:
        """The request, or the report's head."""
        head = f"OBR|{number}|{self.order}^{self.habit.application}|{self.filler}^{self.habit.partner}|{self.term(service)}|||{self.time()}"
        if not result:
            return f"{head}||||L|||||{self.doctor()}{self.maybe('|||||||||||1^^^' + self.time() + '^^S', 0.3)}"
        return f"{head}|||||||{self.maybe(self.time())}||{self.doctor()}||||||{self.time()}||{self.chance.choice(('LAB', 'CH', 'HM', 'MB', 'RAD'))}|{self.chance.choice('FFFPC')}"

    def obx(self, number: int, test: Term) -> str:
        """One result."""
        c = self.chance
        unit = UNITS.get(test.code, "")
        unit = c.choice((unit, f"{unit}^{unit}^UCUM", unit)) if unit else ""
        low = c.randint(1, 150)
        value, kind = (
            f"{c.uniform(low * 0.5, low * 1.6):.{c.choice((0, 1, 2))}f}",
            c.choice(("NM", "NM", "NM", "SN")),
        )
        if kind == "SN":
            value = f"{c.choice(('<', '>', ''))}^{value}"
        flag = c.choice(("N", "N", "H", "L", "", "HH", "A", "N^Normal^HL70078"))
        tail = c.choice(
            (
                "",
                f"|||{self.time()}",
                f"|||{self.time()}||{self.doctor()}",
                f"|||{self.time()}|||||{self.time()}||||{self.habit.facility}^L",
            )
        )
        return f"OBX|{number}|{kind}|{self.term(test)}|{self.maybe('1', 0.2)}|{value}|{unit}|{low}-{low * 2}|{flag}|||F{tail}"

    def text(self, number: int) -> str:
        """A textual result."""
        c = self.chance
        lines = "\\.br\\".join(c.choice(PHRASES) for _ in range(c.randint(1, 6)))
        code = c.choice(
            (
                Term("18748-4", "Diagnostic imaging study", "LN"),
                Term("22634-0", "Pathology report", "LN"),
                Term("11502-2", "Laboratory report", "LN"),
                Term("8251-1", "Service comment", "LN"),
            )
        )
        return f"OBX|{number}|{c.choice(('TX', 'FT', 'ST'))}|{self.term(code)}||{lines}||||||F|||{self.time()}"

    def note(self) -> str:
        """A comment."""
        return f"NTE|1|{self.chance.choice('LPO')}|{self.chance.choice(PHRASES)}"


PHRASES = (
    "No acute abnormality.", "Specimen hemolyzed.", "Clinical correlation recommended.", "FINDINGS: The lungs are clear.",
    "IMPRESSION: Normal study.", "Reference range changed.", "Patient fasting.", "There is no evidence of fracture.",
    "The heart is normal in size.", "Comment: repeat in two weeks.", "No growth after 48 hours.", "Result called to ward.",
    "History: cough and fever.", "TECHNIQUE: PA and lateral views of the chest.", "Take with food.", "COMPARISON: None.",
)  # fmt: skip
