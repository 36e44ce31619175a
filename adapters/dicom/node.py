"""The DICOM node: one application entity that listens, lets peers in, and performs what they ask."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ssl
from typing import Final

from adapters.contract import AdapterRuntime, Condition, Health
from adapters.dicom.acceptor import Acceptor, Admission
from adapters.dicom.access import REJECTS, AccessTable, Caller, Refusal
from adapters.dicom.association import Association, Peer
from adapters.dicom.channel import Channel
from adapters.dicom.classes import is_data_set_syntax, is_storage
from adapters.dicom.config import DicomNodeConfig, PeerConfig, Service, split_address
from adapters.dicom.index.sqlite import SqliteIndex
from adapters.dicom.negotiation import Support, Supports
from adapters.dicom.performing import Performing
from adapters.dicom.receive.storing import Storing
from adapters.dicom.uids import VERIFICATION, Uid
from adapters.dicom.upper.errors import AssociationRejected, ProtocolViolation
from adapters.dicom.upper.framing import Limits
from adapters.dicom.upper.pdus import AssociateReject, AssociateRequest
from bus.blobs.files import FileBlobs
from bus.blobs.format import StoreKey
from bus.telemetry.failures import failure_fields
from bus.telemetry.log import logger
from bus.trust import tls
from schemas.errors import ConfigurationError, MeshError, Unavailable

_log = logger(__name__)
_BACKLOG: Final = 256
_TLS: Final = tls.Settings(certificate="tls.cert")
_BLOB_KEY: Final = b"medmesh dicom blobs"
_STORAGE: Final = Support(transfer_syntaxes=(), takes=is_data_set_syntax)
_VERIFICATION: Final = Support()


class DicomNode:
    """`dicom.node`."""

    def __init__(self, config: DicomNodeConfig, runtime: AdapterRuntime) -> None:
        self._config = config
        self._runtime = runtime
        self._table = AccessTable(
            (config.title, *config.also_titles),
            config.peer,
            max_associations=config.max_associations,
        )
        secret = hmac.digest(runtime.site_key, _BLOB_KEY, hashlib.sha256)
        self.blobs = FileBlobs(runtime.folder / "blobs", StoreKey(secret))
        self.index = SqliteIndex(runtime.folder / "index.db")
        self._storing = Storing(config, runtime, self.blobs, self.index)
        self._acceptor = Acceptor(
            self._decide,
            clock=runtime.clock,
            deadlines=config.deadlines,
            limits=Limits(max_pdu_bytes=config.max_pdu_bytes),
        )
        self._listener: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._associations: set[Association] = set()
        self._admitted: dict[Channel, str] = {}
        """AE titles that count in the table, by connection."""
        self._draining = False

    # the four verbs

    async def start(self) -> None:
        """Open the store and the index, then listen. Raises `ConfigurationError`, `Unavailable`, `BlobRefused`."""
        config = self._config
        self._runtime.folder.mkdir(parents=True, exist_ok=True)
        context = self._tls()
        await self.blobs.start()
        await self.index.start()
        host, port = split_address(config.listen)
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                lambda: Channel(opened=self._opened),
                host or None,
                port,
                ssl=context,
                backlog=_BACKLOG,
                ssl_handshake_timeout=config.tls.handshake_timeout_s if config.tls else None,
            )
        except OSError as error:
            raise Unavailable(
                f"adapter {config.name}: cannot listen on {config.listen}: {error.strerror or error}"
            ) from error

    def health(self) -> Health:
        """Say whether instances are taken, and from how many."""
        if self._listener is None:
            return Health(condition=Condition.STOPPED, detail="not listening")
        if self._draining:
            return Health(condition=Condition.DEGRADED, detail="draining: takes nothing new")
        if self._storing.trouble:
            return Health(condition=Condition.DEGRADED, detail=self._storing.trouble)
        detail = f"{self._table.associations} associations on {self._config.listen}"
        return Health(condition=Condition.HEALTHY, detail=detail)

    async def drain(self, *, timeout_s: float) -> None:
        """Let nobody in; wait until associations have ended, then abort those that have not."""
        self._draining = True
        if self._listener is not None:
            self._listener.close()
        if self._serving:
            await asyncio.wait(tuple(self._serving), timeout=timeout_s)
        await self._end_associations()

    async def stop(self) -> None:
        """Close everything at once; what was not answered, its sender sends again."""
        self._draining = True
        if self._listener is not None:
            self._listener.close()
        await self._end_associations()
        for task in tuple(self._serving):
            task.cancel()
        if self._serving:
            await asyncio.wait(tuple(self._serving))
        self._listener = None
        await self.index.stop()
        await self.blobs.stop()

    @property
    def bound_port(self) -> int:
        """The port listened on: the one asked of the system when the configuration says 0."""
        if self._listener is None or not self._listener.sockets:
            raise Unavailable(f"adapter {self._config.name} does not listen")
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    # inside

    def _tls(self) -> ssl.SSLContext | None:
        settings = self._config.tls
        if settings is None:
            return None
        try:
            return tls.server_context(
                certificate=settings.cert,
                key=settings.key,
                client_ca=settings.client_ca,
                settings=_TLS,
            )
        except ConfigurationError as error:
            raise ConfigurationError(f"adapter {self._config.name}: {error}") from error

    def _opened(self, channel: Channel) -> None:
        """A connection: take it, or close it when there are too many that have not asked for anything yet."""
        if self._draining or len(self._serving) >= 2 * self._config.max_associations:
            self._report(Refusal.DRAINING if self._draining else Refusal.TOO_MANY, channel.address)
            channel.abort()
            return
        if not self._table.is_known(channel.address):
            self._report(Refusal.ADDRESS, channel.address)
            channel.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(channel))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, channel: Channel) -> None:
        began: list[Association] = []
        try:
            await self._acceptor.serve(channel, began=lambda one: self._began(one, began))
        except AssociationRejected:
            pass  # counted where it was decided
        except ProtocolViolation as error:
            self._report("protocol_violation", channel.address, str(error))
        except MeshError as error:
            self._report(error.code, channel.address, str(error))
        except Exception as error:  # noqa: BLE001  # a connection's outermost edge: the others go on
            self._runtime.counters.add("dicom_association_failed", who=self._config.name)
            _log.error("dicom_association_failed", **failure_fields(error))
        finally:
            channel.abort()
            self._associations.difference_update(began)
            title = self._admitted.pop(channel, None)
            if title is not None:
                self._table.leave(title)

    def _began(self, association: Association, began: list[Association]) -> None:
        began.append(association)
        self._associations.add(association)

    def _decide(self, request: AssociateRequest, channel: Channel) -> Admission | AssociateReject:
        caller = Caller(request.called, request.calling, channel.address, _common_name(channel))
        found = Refusal.DRAINING if self._draining else self._table.admit(caller)
        if isinstance(found, Refusal):
            self._report(found, channel.address)
            return REJECTS[found]
        self._admitted[channel] = found.title
        peer = Peer(
            address=channel.address,
            title=request.calling,
            own_title=request.called,
            certificate=caller.certificate,
        )
        return Admission(
            peer=peer,
            supports=_supports(found),
            services=Performing(self._storing if Service.STORE in found.services else None),
            window=self._config.window,
        )

    async def _end_associations(self) -> None:
        for association in tuple(self._associations):
            await association.abort()

    def _report(self, reason: str, address: str, words: str = "") -> None:
        self._runtime.counters.add(
            "dicom_association_refused", who=self._config.name, reason=reason
        )
        _log.warning(
            "dicom_association_refused",
            adapter=self._config.name,
            reason=str(reason),
            peer=address,
            detail=words,
        )


def _supports(peer: PeerConfig) -> Supports:
    services = peer.services

    def supports(sop_class: Uid) -> Support | None:
        if sop_class == VERIFICATION and Service.ECHO in services:
            return _VERIFICATION
        if Service.STORE in services and is_storage(sop_class):
            return _STORAGE
        return None

    return supports


def _common_name(channel: Channel) -> str:
    """Of the peer's verified certificate; empty without mutual TLS."""
    found = channel.known("peercert")
    if not isinstance(found, dict):
        return ""
    names = [
        value for part in found.get("subject", ()) for key, value in part if key == "commonName"
    ]
    return str(names[0]) if len(names) == 1 else ""


__all__ = ["DicomNode"]
