"""FHIR's REST interface: each interaction becomes a call to the service that owns the resource type."""
