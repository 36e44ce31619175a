"""Folders: events become files (`files.writer`), and files become events (`files.reader`)."""

from __future__ import annotations

from typing import Final

from adapters.contract import AdapterKind, Rights
from adapters.files.config import ReaderConfig, WriterConfig
from adapters.files.reader import FolderReader
from adapters.files.writer import FolderWriter
from bus.events.rights import consumer_rights
from schemas.subjects import SiteId


def _writer_rights(config: WriterConfig, site: SiteId) -> Rights:
    own = consumer_rights(site, config.name)
    return Rights(publish=own.publish, subscribe=(*config.subscribe, *own.subscribe))


def _reader_rights(config: ReaderConfig, site: SiteId) -> Rights:
    return Rights(publish=(f"evt.{site}.raw.{config.event}.*",))


WRITER: Final = AdapterKind(
    kind="files.writer",
    summary="Writes each event to a file of its own.",
    config=WriterConfig,
    rights=_writer_rights,
    build=FolderWriter,
    addresses=lambda _config: (),
)

READER: Final = AdapterKind(
    kind="files.reader",
    summary="Publishes each file of a folder as an event.",
    config=ReaderConfig,
    rights=_reader_rights,
    build=FolderReader,
    addresses=lambda _config: (),
)

__all__ = ["READER", "WRITER"]
