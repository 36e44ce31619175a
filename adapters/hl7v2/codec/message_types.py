"""HL7 tables 0076 and 0003, as far as it takes to show a message's type without showing what a hostile sender wrote."""

from __future__ import annotations

import re
from typing import Final

UNKNOWN: Final = "unknown"

# v2.1 to v2.8. A closed list bounds metric labels, and keeps a name written into MSH-9 off every screen.
_TABLE_0076: Final = """
ACK ADR ADT ARD BAR BPS BRP BRT BTS CCF CCI CCM CCQ CCR CCU CNQ CQU CRM CSU DBC DBU DEL DEO DER DFT
DOC DPR DRC DRG DSR EAC EAN EAR EDR EHC EQQ ERP ERQ ESR ESU INR INU LSR LSU MCF MDM MFD MFK MFN MFQ
MFR NMD NMQ NMR OMB OMD OMG OMI OML OMN OMP OMQ OMS OPL OPR OPU ORA ORB ORD ORF ORG ORI ORL ORM ORN
ORP ORR ORS ORU ORX OSM OSQ OSR OSU OUL PEX PGL PIN PMU PPG PPP PPR PPT PPV PRR PTR QBP QCK QCN QRF
QRY QSB QSX QVR RAR RAS RCI RCL RDE RDO RDR RDS RDY REF RER RGR RGV ROR RPA RPI RPL RPR RQA RQC RQI
RQP RQQ RRA RRD RRE RRG RRI RRO RSP RTB SCN SDN SDR SIU SLN SLR SMD SPQ SQM SQR SRM SRR SSR SSU STC
STI SUR TBR TCR TCU UDM VQQ VTQ VXQ VXR VXU VXX
"""
_CODES: Final = frozenset(_TABLE_0076.split())
_LOCAL_CODE: Final = re.compile(r"Z[A-Z0-9]{2}\Z")
_TRIGGER: Final = re.compile(r"(?:[A-Y]\d\d|PC[1-9A-L]|Z[A-Z0-9]{2})\Z")


def displayed_type(code: str, trigger: str) -> str:
    """`ADT^A01`, or `ACK` when there is no trigger; `unknown` unless both are of the shape the standard gives them."""
    if code not in _CODES and not _LOCAL_CODE.match(code):
        return UNKNOWN
    if not trigger:
        return code
    return f"{code}^{trigger}" if _TRIGGER.match(trigger) else UNKNOWN


__all__ = ["UNKNOWN", "displayed_type"]
