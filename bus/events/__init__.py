"""Durable events: publish with group commit, consume in exact order, retries, dead letters, replay, receipts.

`bus.events.protocol` is what adapters and services see; `bus.events.events.MeshEvents` implements it for one service.
"""
