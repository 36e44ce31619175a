"""HL7 v2 to FHIR R4 and back, by declarative tables in layers. No input or output beside loading tables."""
