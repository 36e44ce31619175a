"""`/v1` as a part of the gateway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from adapters.contract import Rights
from gateway.access.protocol import Access
from gateway.contract import GatewayRuntime
from gateway.http.request import Bounds
from gateway.http.v1 import describe, hl7v2, publish, requests
from gateway.http.v1.desk import Desk
from gateway.part import Mount, PartKind
from schemas.gateway import GatewaySection

_RECORDS_S: Final = 5.0
"""How long the last access records may take to be kept when it stops."""


class ApiPart:
    """Publish, request, HL7 v2."""

    def __init__(self, section: GatewaySection, runtime: GatewayRuntime, access: Access) -> None:
        bounds = Bounds(
            max_body=section.max_body,
            body_timeout_s=section.body_timeout_s,
            request_timeout_s=section.request_timeout_s,
        )
        self._desk = Desk(access, bounds, site_key=runtime.site_key, counters=runtime.counters)
        self._publishing = publish.Publishing(runtime, self._desk)
        self._requesting = requests.Requesting(runtime, self._desk)
        self._hl7v2 = hl7v2.Hl7Intake(section, runtime, self._desk)

    async def start(self) -> None:
        """Nothing runs in the background."""

    def mounts(self) -> Sequence[Mount]:
        """See `Part.mounts`."""
        return (
            Mount(prefix=publish.PREFIX, app=self._publishing, openapi=describe.PUBLISH),
            Mount(prefix=requests.PREFIX, app=self._requesting, openapi=describe.REQUEST),
            Mount(prefix=hl7v2.PATH, app=self._hl7v2, openapi=describe.HL7V2),
        )

    def components(self) -> Mapping[str, Any]:
        """See `Part.components`."""
        return describe.SCHEMAS

    async def drain(self, *, timeout_s: float) -> None:
        """Requests are finished by the front."""

    async def stop(self) -> None:
        """Give up what is not written down yet."""
        await self._desk.close(timeout_s=_RECORDS_S)


API: Final = PartKind(
    name="api",
    is_wanted=lambda section: True,
    rights=lambda section, site: Rights(),
    build=ApiPart,
)

__all__ = ["API", "ApiPart"]
