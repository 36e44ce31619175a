"""Following events without a place in the stream: for readers that come and go and know themselves where they were."""

from bus.events.following.feed import Feed, Followed, MeshFeed, PositionLost

__all__ = ["Feed", "Followed", "MeshFeed", "PositionLost"]
