"""The rights that calls need, as subject patterns for certificates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bus.services.protocol import Offer
from schemas import subjects
from schemas.subjects import SiteId


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRights:
    """Subject patterns for a certificate."""

    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()

    def __add__(self, other: CallRights) -> CallRights:
        """Both, each pattern once."""
        return CallRights(
            publish=tuple(dict.fromkeys(self.publish + other.publish)),
            subscribe=tuple(dict.fromkeys(self.subscribe + other.subscribe)),
        )


def service_rights(
    site: SiteId, offer: Offer, *, caller_sites: Iterable[SiteId] = ()
) -> CallRights:
    """What a service needs: to read its own calls, and to answer callers of its site and of `caller_sites`."""
    major = int(offer.version.partition(".")[0])
    sites = dict.fromkeys((site, *caller_sites))
    return CallRights(
        publish=tuple(f"ctl.{one}.answers.*" for one in sites),
        subscribe=(subjects.calls_of(site, offer.name, major),),
    )


def caller_rights(
    site: SiteId, service: str, major: int, *, caller: str, at: SiteId | None = None
) -> CallRights:
    """What `caller`, a service of `site`, needs to call one major version of a service of the site `at` (its own).

    It publishes to the queue group's subject and to each instance's, and reads the answers to itself.
    """
    return CallRights(
        publish=(subjects.calls_of(at or site, service, major),),
        subscribe=(subjects.answers(site, caller),),
    )


__all__ = ["CallRights", "caller_rights", "service_rights"]
