"""DIMSE (DICOM PS3.7): commands, their status codes, and messages put together from fragments. Pure."""
