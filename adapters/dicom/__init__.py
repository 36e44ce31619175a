"""DICOM on the mesh: the upper layer, DIMSE services, worklists and images (DICOM PS3)."""
