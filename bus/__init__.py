"""The mesh itself: envelope, trust, transport, events."""
