"""The gateway as an authorisation server for its own clients: access tokens for SMART backend services."""

from gateway.oauth.part import ACCESS, AccessPart

__all__ = ["ACCESS", "AccessPart"]
