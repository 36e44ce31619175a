"""A closed, compiled subset of FHIRPath (http://hl7.org/fhirpath/N1/) over plain JSON values.

    is_hemoglobin = compile_path("Observation.code.coding.where(system=%loinc and code='718-7').exists()")
    is_hemoglobin.test(resource)

docs/how-to/fhirpath.md names what is in the subset and what is not. Pure: no input or output, no clock.
"""

from schemas.fhirpath.errors import Failure, FhirPathError, PathFailed
from schemas.fhirpath.path import MAX_STEPS, Path, compile_path
from schemas.fhirpath.types import TypeModel
from schemas.fhirpath.values import Json

__all__ = [
    "MAX_STEPS",
    "Failure",
    "FhirPathError",
    "Json",
    "Path",
    "PathFailed",
    "TypeModel",
    "compile_path",
]
