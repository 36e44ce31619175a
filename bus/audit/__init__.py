"""Who did what: durable records that only auditors can read."""

from bus.audit.log import AccessLog
from bus.audit.reader import AccessReader, StoredEntry, UnreadableEntries
from bus.audit.records import AccessEntry

__all__ = ["AccessEntry", "AccessLog", "AccessReader", "StoredEntry", "UnreadableEntries"]
