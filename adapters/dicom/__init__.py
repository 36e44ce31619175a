"""DICOM on the mesh: the upper layer, DIMSE services, worklists and images (DICOM PS3)."""

from adapters.dicom.kinds import NODE

__all__ = ["NODE"]
