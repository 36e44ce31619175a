"""The schema registry of a site as its tools open it: to read, or to write in the name of the registrar."""

from __future__ import annotations

from contextlib import suppress

from bus.catalogue import (
    REGISTRAR,
    Believed,
    BindingSigner,
    BindingVerifier,
    Registrar,
    registrar_rights,
)
from bus.catalogue.cache import RegistryCache
from bus.catalogue.registrar import Listing
from bus.catalogue.seals import claimed_key
from bus.envelope.types import Refused
from bus.transport.protocol import NotFound
from bus.trust import Trust
from bus.trust.carrier import CERTIFICATES
from bus.trust.identity import ServiceIdentity
from bus.trust.sync import certificate_key
from medmesh.config import Configuration
from medmesh.runtime.services import Connected, binding_verifier, schemas_folder
from schemas.clock import Clock
from schemas.errors import Unavailable


async def open_registry(connection: Connected, clock: Clock, *, writes: bool = False) -> Registrar:
    """The registry of a connection that was started.

    To write it needs a certificate with the registrar's rights, which only the machine with the site's authority
    issues. Raises `NoAuthority`, `Unavailable`.
    """
    site = connection.configuration.site
    signer = None
    if writes:
        identity = await connection.trust.identity(
            REGISTRAR, publish=registrar_rights(site), subscribe=()
        )
        signer = BindingSigner(identity, await _certificate(connection, identity))
    return await Registrar.open(
        connection.transport,
        site=site,
        verifier=binding_verifier(connection, clock),
        clock=clock,
        signer=signer,
    )


async def _certificate(connection: Connected, identity: ServiceIdentity) -> bytes:
    """The certificate as the authority signed it: it travels with what the registrar signs."""
    bucket = await connection.transport.key_value(CERTIFICATES)
    try:
        entry = await bucket.get(certificate_key(identity.certificate))
    except NotFound:
        raise Unavailable(
            "the registrar's certificate has not reached the mesh yet: try again"
        ) from None
    return entry.value or b""


async def last_known(configuration: Configuration, clock: Clock) -> Listing | None:
    """What this machine knew last, verified again; None when it knows no mesh. Raises what the trust folder raises."""
    mesh = configuration.settings.mesh
    if not (mesh.data / "trust").is_dir():
        return None
    trust = await Trust.open(
        mesh.data / "trust", mesh=mesh.name, site=mesh.site, buckets=None, clock=clock,
        create_authority=False,
    )  # fmt: skip
    try:
        verifier = BindingVerifier(
            trust.root, trust.directory, site=configuration.site, clock=clock
        )
        found: list[Believed] = []
        for raw in RegistryCache(schemas_folder(configuration)).bindings():
            with suppress(Refused):
                found.append(verifier.open(claimed_key(raw), raw))
    finally:
        await trust.stop()
    held = (one for one in found if not one.revision.is_removed)
    return Listing(bindings=tuple(sorted(held, key=lambda one: one.revision.binding.pattern)))


__all__ = ["last_known", "open_registry"]
