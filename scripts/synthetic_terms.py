"""Public codes and made-up names that the synthetic messages are written with."""

# ruff: noqa: E501 - a segment or a resource reads best as one line
from __future__ import annotations

from typing import NamedTuple


class Term(NamedTuple):
    """One code: code, words, HL7 v2 name of its system."""

    code: str
    text: str
    system: str


class Panel(NamedTuple):
    """What is ordered, and what is reported for it."""

    order: Term
    tests: tuple[Term, ...]


def _terms(system: str, text: str) -> tuple[Term, ...]:
    return tuple(
        Term(code, words, system)
        for code, words in (line.strip().split(" ", 1) for line in text.strip().splitlines())
    )


SYNTHETIC_NAMES = (
    "EXAMPLE", "Example", "TEST", "Test", "SAMPLE", "Sample", "DEMO", "Muster", "BEISPIEL", "Specimen", "FICTIVE", "Nobody",
    "PATIENT", "Proband", "ZZTEST", "ONE", "TWO", "Three", "ALPHA", "Beta", "GAMMA", "Delta", "EPSILON", "Omega",
)  # fmt: skip

CHEMISTRY = _terms("LN", """
    2951-2 Sodium [Moles/volume] in Serum or Plasma
    2823-3 Potassium [Moles/volume] in Serum or Plasma
    2075-0 Chloride [Moles/volume] in Serum or Plasma
    2028-9 Carbon dioxide, total [Moles/volume] in Serum or Plasma
    2345-7 Glucose [Mass/volume] in Serum or Plasma
    3094-0 Urea nitrogen [Mass/volume] in Serum or Plasma
    2160-0 Creatinine [Mass/volume] in Serum or Plasma
    17861-6 Calcium [Mass/volume] in Serum or Plasma
    1751-7 Albumin [Mass/volume] in Serum or Plasma
    2885-2 Protein [Mass/volume] in Serum or Plasma
    1975-2 Bilirubin.total [Mass/volume] in Serum or Plasma
    6768-6 Alkaline phosphatase [Enzymatic activity/volume] in Serum or Plasma
    1742-6 Alanine aminotransferase [Enzymatic activity/volume] in Serum or Plasma
    1920-8 Aspartate aminotransferase [Enzymatic activity/volume] in Serum or Plasma
""")  # fmt: skip
BLOOD = _terms("LN", """
    6690-2 Leukocytes [#/volume] in Blood by Automated count
    789-8 Erythrocytes [#/volume] in Blood by Automated count
    718-7 Hemoglobin [Mass/volume] in Blood
    4544-3 Hematocrit [Volume Fraction] of Blood by Automated count
    787-2 MCV [Entitic volume] by Automated count
    785-6 MCH [Entitic mass] by Automated count
    786-4 MCHC [Mass/volume] by Automated count
    777-3 Platelets [#/volume] in Blood by Automated count
    751-8 Neutrophils [#/volume] in Blood by Automated count
    731-0 Lymphocytes [#/volume] in Blood by Automated count
""")  # fmt: skip
LIPIDS = _terms("LN", """
    2093-3 Cholesterol [Mass/volume] in Serum or Plasma
    2571-8 Triglyceride [Mass/volume] in Serum or Plasma
    2085-9 Cholesterol in HDL [Mass/volume] in Serum or Plasma
    13457-7 Cholesterol in LDL [Mass/volume] in Serum or Plasma by calculation
    4548-4 Hemoglobin A1c/Hemoglobin.total in Blood
""")  # fmt: skip
VITALS = _terms("LN", """
    8302-2 Body height
    29463-7 Body weight
    8310-5 Body temperature
    8867-4 Heart rate
    9279-1 Respiratory rate
    8480-6 Systolic blood pressure
    8462-4 Diastolic blood pressure
    39156-5 Body mass index (BMI) [Ratio]
    2708-6 Oxygen saturation in Arterial blood
""")  # fmt: skip
MICROBIOLOGY = _terms("LN", """
    600-7 Bacteria identified in Blood by Culture
    630-4 Bacteria identified in Urine by Culture
    94500-6 SARS-CoV-2 (COVID-19) RNA [Presence] in Respiratory specimen by NAA with probe detection
    5671-3 Lead [Mass/volume] in Blood
    6301-6 INR in Platelet poor plasma by Coagulation assay
    3016-3 Thyrotropin [Units/volume] in Serum or Plasma
""")  # fmt: skip

PANELS = (
    Panel(Term("24323-8", "Comprehensive metabolic 2000 panel - Serum or Plasma", "LN"), CHEMISTRY),
    Panel(Term("24321-2", "Basic metabolic panel", "LN"), CHEMISTRY[:8]),
    Panel(Term("58410-2", "Complete blood count (hemogram) panel - Blood by Automated count", "LN"), BLOOD),
    Panel(Term("57021-8", "CBC W Auto Differential panel - Blood", "LN"), BLOOD),
    Panel(Term("24331-1", "Lipid 1996 panel - Serum or Plasma", "LN"), LIPIDS),
    Panel(Term("85353-1", "Vital signs, weight, height, head circumference, oxygen saturation and BMI panel", "LN"), VITALS),
    Panel(Term("18725-2", "Microbiology studies", "LN"), MICROBIOLOGY),
)  # fmt: skip

UNITS = {
    "2951-2": "mmol/L", "2823-3": "mmol/L", "2075-0": "mmol/L", "2028-9": "mmol/L", "2345-7": "mg/dL", "3094-0": "mg/dL",
    "2160-0": "mg/dL", "17861-6": "mg/dL", "1751-7": "g/dL", "2885-2": "g/dL", "1975-2": "mg/dL", "6768-6": "U/L",
    "1742-6": "U/L", "1920-8": "U/L", "6690-2": "10*3/uL", "789-8": "10*6/uL", "718-7": "g/dL", "4544-3": "%", "787-2": "fL",
    "785-6": "pg", "786-4": "g/dL", "777-3": "10*3/uL", "751-8": "10*3/uL", "731-0": "10*3/uL", "2093-3": "mg/dL",
    "2571-8": "mg/dL", "2085-9": "mg/dL", "13457-7": "mg/dL", "4548-4": "%", "8302-2": "cm", "29463-7": "kg",
    "8310-5": "Cel", "8867-4": "/min", "9279-1": "/min", "8480-6": "mm[Hg]", "8462-4": "mm[Hg]", "39156-5": "kg/m2",
    "2708-6": "%", "5671-3": "ug/dL", "3016-3": "mIU/L",
}  # fmt: skip

DIAGNOSES = _terms("I10", """
    I10 Essential (primary) hypertension
    E11.9 Type 2 diabetes mellitus without complications
    J06.9 Acute upper respiratory infection, unspecified
    J18.9 Pneumonia, unspecified organism
    R07.9 Chest pain, unspecified
    N39.0 Urinary tract infection, site not specified
    S93.4 Sprain of ankle
    Z00.00 Encounter for general adult medical examination without abnormal findings
    I50.9 Heart failure, unspecified
    K35.80 Unspecified acute appendicitis
    J45.909 Unspecified asthma, uncomplicated
""") + _terms("SCT", """
    38341003 Hypertensive disorder
    44054006 Diabetes mellitus type 2
    195967001 Asthma
    233604007 Pneumonia
""")  # fmt: skip

PROCEDURES = _terms("C4", """
    71046 Chest X-ray 2 views
    70450 CT Head without contrast
    99213 Office or other outpatient visit
    93000 Electrocardiogram, routine ECG
    36415 Collection of venous blood by venipuncture
    76700 Ultrasound, abdominal
""") + _terms("LN", """
    36643-5 XR Chest 2 Views
    24627-2 CT Chest
    24558-9 US Abdomen
    30799-1 CT Head WO contrast
""")  # fmt: skip

ALLERGIES = _terms("RXNORM", """
    7980 Penicillin
    70618 PENICILLIN
    1191 Aspirin
    2670 Codeine
    10831 Sulfamethoxazole / Trimethoprim
""") + _terms("SCT", """
    91935009 Allergy to peanut
    300913006 Shellfish allergy
    111088007 Latex
    227493005 Cashew nuts
""")  # fmt: skip

DRUGS = _terms("NDC", """
    0002-3227-30 Amoxicillin 500 MG Oral Capsule
    00071-0155-23 Atorvastatin 20 MG Oral Tablet
    00006-0749-54 Lisinopril 10 MG Oral Tablet
""") + _terms("RXNORM", """
    308182 Amoxicillin 250 MG Oral Capsule
    314076 Lisinopril 10 MG Oral Tablet
    860975 24 HR metformin hydrochloride 500 MG Extended Release Oral Tablet
    197361 Amlodipine 5 MG Oral Tablet
    313782 Acetaminophen 325 MG Oral Tablet
    259255 Atorvastatin 20 MG Oral Tablet
""")  # fmt: skip

VACCINES = _terms("CVX", """
    141 Influenza, seasonal, injectable
    08 Hep B, adolescent or pediatric
    20 DTaP
    03 MMR
    21 Varicella
    208 COVID-19, mRNA, LNP-S, PF, 30 mcg/0.3 mL dose
    10 IPV
    133 Pneumococcal conjugate PCV 13
""")  # fmt: skip

__all__ = [
    "ALLERGIES",
    "DIAGNOSES",
    "DRUGS",
    "PANELS",
    "PROCEDURES",
    "SYNTHETIC_NAMES",
    "UNITS",
    "VACCINES",
    "VITALS",
    "Panel",
    "Term",
]
