"""Checks of keys and certificates: is the directory fresh, whose certificate ends when."""

from __future__ import annotations

from typing import Final

from bus.trust import Trust
from medmesh.config import Configuration
from medmesh.doctor.finding import Finding, good, note, wrong
from schemas.clock import Clock

_SOON_S: Final = 3600.0
_HOUR_S: Final = 3600.0


def check_trust(trust: Trust, configuration: Configuration, clock: Clock) -> list[Finding]:
    """Every check of a trust folder that was opened (its modes were checked by that)."""
    mesh, site = configuration.settings.mesh.name, configuration.site
    findings = [_head(trust)]
    for adapter in configuration.adapters:
        name = adapter.config.name
        findings.append(_certificate(trust, name, f"spiffe://{mesh}/{site}/{name}", clock))
    return findings


def _head(trust: Trust) -> Finding:
    health = trust.health()
    if health.head_age_s < 0:
        return note(
            "trust", "directory", "has no head yet", "`medmesh up` signs one at its first start"
        )
    saw = f"the newest head was signed {health.head_age_s:.0f} s ago"
    if not health.fresh:
        return wrong(
            "trust",
            "directory",
            f"{saw} and has expired",
            "the machine with the authority must run `medmesh up`; are the clocks right?",
        )
    return good("trust", "directory", saw)


def _certificate(trust: Trust, name: str, service: str, clock: Clock) -> Finding:
    live = trust.directory.instances(service)
    if not live:
        return note(
            "trust", name, "has no live certificate", "it gets one when `medmesh up` starts"
        )
    newest = max(live, key=lambda one: one.not_after_ms)
    left_s = (newest.not_after_ms - clock.now_ms()) / 1000
    age_s = (clock.now_ms() - newest.not_before_ms) / 1000
    saw = f"certificate {age_s / _HOUR_S:.1f} h old, ends in {left_s / _HOUR_S:.1f} h"
    if left_s < _SOON_S:
        return wrong(
            "trust",
            name,
            saw,
            "it is renewed at half its life: does `medmesh up` run, with its authority?",
        )
    return good("trust", name, saw)


__all__ = ["check_trust"]
