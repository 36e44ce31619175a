"""Events as they come: server-sent events, lines of JSON and WebSocket, each resumable at any gateway of the site."""

from gateway.streams.part import STREAMS

__all__ = ["STREAMS"]
