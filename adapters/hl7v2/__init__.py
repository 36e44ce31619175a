"""HL7 v2: messages come in and go out by MLLP, and get FHIR views beside them.

The kinds are imported when they are first asked for: codec and mapping are used without sockets, trust and settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adapters.hl7v2.kinds import FROM_FHIR, MLLP_CLIENT, MLLP_SERVER, TO_FHIR


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from adapters.hl7v2 import kinds  # noqa: PLC0415 - the reason stands above

    return getattr(kinds, name)


__all__ = ["FROM_FHIR", "MLLP_CLIENT", "MLLP_SERVER", "TO_FHIR"]
