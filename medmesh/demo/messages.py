"""One day of a hospital that does not exist: seeded, synthetic messages of many types, charsets and habits.

Every name says that it is an example, every number begins with DEMO. The same seed gives the same bytes. Pure.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from importlib import resources
from typing import Final

_MIDNIGHT: Final = datetime(2026, 1, 1, 0, 0, 0)  # noqa: DTZ001 - HL7 times of one imaginary place, without zone
_DAY_S: Final = 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """How one of the hospital's systems writes: charset, encoding characters, version, names of its language."""

    charset: str
    """MSH-18 as sent; empty when the system leaves it out."""
    codec: str
    marks: str
    version: str
    country: str
    families: tuple[str, ...]
    givens: tuple[str, ...]
    enhanced: bool = False
    """Asks for an accept acknowledgement (MSH-15 AL, MSH-16 NE); otherwise the original mode."""
    final_terminator: bool = True
    """Some systems leave out the last carriage return."""


HABITS: Final = (
    Habit(
        charset="UNICODE UTF-8", codec="utf-8", marks=r"^~\&", version="2.5.1", country="DEU",
        families=("Beispiel", "Müster", "Größtest", "Übungsfall"), givens=("Ännchen", "Jörg", "Zoë"),
    ),
    Habit(
        charset="8859/1", codec="iso8859-1", marks=r"^~\&", version="2.3", country="FRA",
        families=("Exemple", "Échantillon", "Modèle"), givens=("Hélène", "François", "Noël"),
    ),
    Habit(
        charset="8859/2", enhanced=True, codec="iso8859-2", marks=r"^~\&", version="2.4", country="POL",
        families=("Przykładowa", "Próbna", "Ćwiczeniowy"), givens=("Łucja", "Żaneta", "Paweł"),
    ),
    Habit(
        charset="8859/5", enhanced=True, codec="iso8859-5", marks=r"^~\&", version="2.5", country="BGR",
        families=("Примеров", "Тестова"), givens=("Проба", "Образец"),
    ),
    Habit(
        charset="8859/15", codec="iso8859-15", marks=r"^~\&#", version="2.7", country="FIN",
        families=("Esimerkki", "Näyte", "Kokeilu"), givens=("Šimo", "Äiti", "Œuvre"),
    ),
    Habit(
        charset="UNICODE UTF-8", codec="utf-8", marks=r"^~\&#", version="2.8", enhanced=True, country="JPN",
        families=("例題", "見本", "試験"), givens=("太郎例", "花子例"),
    ),
    Habit(
        charset="ASCII", codec="ascii", marks=r"^~\&", version="2.3.1", country="USA",
        families=("ZZTEST", "EXAMPLE", "SAMPLE"), givens=("PATIENT", "DEMO", "ONLY"),
    ),
    Habit(
        charset="", codec="ascii", marks=r"^~\&", version="2.2", country="",
        families=("NOBODY", "FICTIVE"), givens=("ANY", "MORE"), final_terminator=False,
    ),
)  # fmt: skip

_TYPES: Final[Mapping[str, str]] = {
    "adt_a01": "ADT^A01^ADT_A01",
    "adt_a02": "ADT^A02^ADT_A02",
    "adt_a03": "ADT^A03^ADT_A03",
    "adt_a04": "ADT^A04^ADT_A01",
    "adt_a08": "ADT^A08^ADT_A01",
    "adt_a11": "ADT^A11^ADT_A09",
    "adt_a40": "ADT^A40^ADT_A39",
    "orm_o01": "ORM^O01",
    "oml_o21": "OML^O21^OML_O21",
    "oru_r01": "ORU^R01^ORU_R01",
    "siu_s12": "SIU^S12^SIU_S12",
    "mdm_t02": "MDM^T02^MDM_T02",
    "vxu_v04": "VXU^V04^VXU_V04",
}

_STAYS: Final = (
    ("adt_a01", "oml_o21", "oru_r01", "adt_a02", "adt_a08", "orm_o01", "oru_r01", "mdm_t02", "adt_a03"),
    ("adt_a04", "orm_o01", "oru_r01", "oru_r01", "adt_a08", "mdm_t02"),
    ("siu_s12", "adt_a04", "vxu_v04", "adt_a08"),
    ("adt_a01", "adt_a11"),
    ("adt_a04", "adt_a40", "adt_a08", "oml_o21", "oru_r01"),
)  # fmt: skip
"""What can happen to a patient in a day, in this order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoMessage:
    """One message of the day."""

    patient: str
    """Number of the patient: messages of one patient keep their order."""
    control_id: str
    type: str
    """`ADT^A01`."""
    raw: bytes = field(repr=False)


def day(count: int, *, seed: int = 1, run: str = "") -> list[DemoMessage]:
    """`count` messages in the order in which the hospital sends them.

    `run` (at most 10 characters) goes into each control id: the same message under the same id is a resend, which the
    mesh stores once.
    """
    chance = random.Random(seed)
    planned: list[tuple[float, int, int, str]] = []
    patients: list[Mapping[str, str]] = []
    habits: list[Habit] = []
    while len(planned) < count:
        number = len(patients)
        habits.append(HABITS[number % len(HABITS)])
        patients.append(_patient(number, habits[-1], chance))
        start = chance.uniform(0, _DAY_S * 0.7)
        for step, template in enumerate(_STAYS[number % len(_STAYS)]):
            start += chance.uniform(60, 3600)
            planned.append((start, number, step, template))
    planned = sorted(planned[:count])
    return [
        _message(f"D{run}{i:06d}", at, habits[who], patients[who], step, template, chance)
        for i, (at, who, step, template) in enumerate(planned)
    ]


def _patient(number: int, habit: Habit, chance: random.Random) -> Mapping[str, str]:
    ward = chance.choice(("4W", "ICU", "MAT", "SUR", "ORT"))
    return {
        "mrn": f"DEMO{number:05d}",
        "alternate": f"DEMOALT{number:05d}",
        "visit": f"DEMOV{number:05d}",
        "family": chance.choice(habit.families),
        "given": chance.choice(habit.givens),
        "middle": chance.choice(("", "X")),
        "contact": chance.choice(habit.families),
        "birth": f"{chance.randint(1930, 2025)}{chance.randint(1, 12):02d}{chance.randint(1, 28):02d}",
        "sex": chance.choice("FMOU"),
        "street": f"{number} Example Street",
        "city": "Demotown",
        "zip": f"{number:05d}",
        "marital": chance.choice(("S", "M", "")),
        "class": chance.choice("IOE"),
        "ward": ward,
        "room": str(chance.randint(1, 40)),
        "bed": chance.choice("AB"),
        "service": chance.choice(("MED", "SUR", "PUL")),
        "doctor": f"DEMODOC{chance.randint(1, 9)}",
        "doctor_family": chance.choice(habit.families),
        "doctor_given": chance.choice(habit.givens),
        "clerk": f"DEMOCLK{chance.randint(1, 5)}",
        "ambulatory": chance.choice(("", "A0")),
    }


def _message(
    control: str,
    at_s: float,
    habit: Habit,
    patient: Mapping[str, str],
    step: int,
    template: str,
    chance: random.Random,
) -> DemoMessage:
    values = {
        **patient,
        **_findings(chance, habit),
        "marks": habit.marks,
        "version": habit.version,
        "charset": habit.charset,
        "accept": "AL" if habit.enhanced else "",
        "application": "NE" if habit.enhanced else "",
        "country": habit.country,
        "type": _TYPES[template],
        "control": control,
        "step": str(step),
        "order": f"DEMOORD{control[-6:]}",
        "now": _time(at_s),
        "admitted": _time(0),
    }
    segments = [segment.format_map(values).rstrip("|") for segment in _template(template)]
    text = "\r".join(segments) + ("\r" if habit.final_terminator else "")
    return DemoMessage(
        patient=patient["mrn"],
        control_id=control,
        type="^".join(_TYPES[template].split("^")[:2]),
        raw=text.encode(habit.codec),
    )


def _findings(chance: random.Random, habit: Habit) -> Mapping[str, str]:
    accented = " ".join((chance.choice(habit.givens), chance.choice(habit.families)))
    return {
        "digits": f"{chance.randint(0, 99):02d}",
        "complaint": chance.choice(("Cough", "Check-up", "Fall", "Headache")),
        "allergy": chance.choice(("PEN", "NUT", "DUST")),
        "allergy_name": chance.choice(("Penicillin", "Nuts", "House dust")),
        "reaction": chance.choice(("Rash", "Sneezing", '""')),
        "diagnosis": chance.choice(("J06.9", "S93.4", "Z00.0")),
        "diagnosis_name": chance.choice(("Cold", "Sprain", "Examination")),
        "height": str(chance.randint(50, 200)),
        "sodium": str(chance.randint(130, 150)),
        "potassium": f"{chance.uniform(3.0, 6.0):.1f}",
        "glucose": str(chance.randint(60, 200)),
        "creatinine": f"{chance.uniform(0.4, 2.0):.2f}",
        "flag": chance.choice(("N", "H", "L")),
        "note": f"Synthetic note {chance.randint(1, 999)} about {accented} " * chance.randint(1, 6),
    }


def _time(at_s: float) -> str:
    return (_MIDNIGHT + timedelta(seconds=at_s)).strftime("%Y%m%d%H%M%S")


@cache
def _template(name: str) -> Sequence[str]:
    text = resources.files("medmesh.demo").joinpath("templates", f"{name}.hl7").read_text("utf-8")
    return tuple(text.splitlines())


__all__ = ["HABITS", "DemoMessage", "Habit", "day"]
