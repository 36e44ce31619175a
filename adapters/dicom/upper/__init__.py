"""The DICOM upper layer (PS3.8): PDUs, their bounds and the association's state machine. Pure: no sockets, no time."""

from adapters.dicom.upper.framing import Limits
from adapters.dicom.upper.machine import Context, Machine, State

__all__ = ["Context", "Limits", "Machine", "State"]
