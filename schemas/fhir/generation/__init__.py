"""From a FHIR type model to protobuf schemas: what scripts/generate_fhir.py runs. Nothing here is used at run time."""
