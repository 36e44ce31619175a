"""The kinds of adapters of this folder, as a site finds them."""

from __future__ import annotations

from typing import Final

from adapters.contract import Adapter, AdapterKind, AdapterRuntime, Rights
from adapters.dicom.config import DicomNodeConfig
from schemas.subjects import Domain, SiteId


def _rights(config: DicomNodeConfig, site: SiteId) -> Rights:
    from adapters.dicom.receive.announcing import EVENTS  # noqa: PLC0415 - with what it stands beside

    return Rights(publish=tuple(f"evt.{site}.{Domain.IMAGING.value}.{name}.*" for name in EVENTS))


def _build(config: DicomNodeConfig, runtime: AdapterRuntime) -> Adapter:
    from adapters.dicom.node import DicomNode  # noqa: PLC0415 - pydicom only where it is used

    return DicomNode(config, runtime)


NODE: Final = AdapterKind(
    kind="dicom.node",
    summary="Receives DICOM instances, keeps them encrypted, and announces them.",
    config=DicomNodeConfig,
    rights=_rights,
    build=_build,
    addresses=lambda config: (config.listen,),
)

__all__ = ["NODE"]
