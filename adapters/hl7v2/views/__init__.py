"""Views of raw HL7 v2 events: the mapping at work on the mesh, FHIR events beside the raw ones."""
