"""`/v1`: publish, request and HL7 v2 over HTTP."""

from gateway.http.v1.part import API, ApiPart

__all__ = ["API", "ApiPart"]
