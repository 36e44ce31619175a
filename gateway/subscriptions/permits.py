"""What the creator of a subscription may see now: the scopes it had then, as far as it still has them."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.access.rights import ClientRights, allows_fhir, local_user
from gateway.subscriptions.model import Record
from schemas.errors import MeshError
from schemas.gateway import GatewaySection
from schemas.subjects import SiteId

WITHDRAWN = "the client that made the subscription may no longer read what it is about"


class Permits:
    """The rights of the configured clients."""

    def __init__(self, section: GatewaySection, site: SiteId) -> None:
        clients = section.client or (local_user(site),)
        self._rights = {one.name: ClientRights(one) for one in clients}

    def may_see(self, record: Record, types: Iterable[str]) -> bool:
        """Whether its creator may read and search all of these types."""
        return self.may(record.client, record.scopes, types)

    def may(self, client: str, scopes: Iterable[str], types: Iterable[str]) -> bool:
        """The same of a client with these scopes."""
        own = self._rights.get(client)
        if own is None:
            return False
        try:
            held = own.granted(scopes)
        except MeshError:
            return False
        return all(
            allows_fhir(held, type_, deed, confined=False) for type_ in types for deed in "rs"
        )

    def sees_all(self, client: str) -> bool:
        """Whether a client may look at the subscriptions of others: an operator."""
        own = self._rights.get(client)
        return own is not None and "view" in own.operate


__all__ = ["WITHDRAWN", "Permits"]
