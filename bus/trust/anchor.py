"""Whom this machine believes, decided at its first start: an authority of its own, or a root that was copied."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from bus.transport.protocol import NotFound
from bus.trust.authority import Authority
from bus.trust.carrier import DIRECTORY, HEAD_KEY, Carrier
from bus.trust.errors import ForeignAuthority, NoAuthority
from bus.trust.files import read_private, write_atomic
from bus.trust.keystore import Passphrase
from bus.trust.root import Root
from bus.trust.settings import TrustSettings
from schemas.clock import Clock

_ROOT: Final = "root"


async def find_authority(
    folder: Path,
    authority_folder: Path,
    *,
    mesh: str,
    clock: Clock,
    settings: TrustSettings,
    passphrase: Passphrase,
    carrier: Carrier | None,
    create: bool,
) -> Authority | None:
    """The authority on this machine: loaded, made at the very first start, or None on an enrolled machine."""
    if not Authority.exists(authority_folder):
        if (folder / _ROOT).exists():
            return None
        if not create:
            raise NoAuthority(
                f"{folder} belongs to no mesh yet, and no authority may be made here: "
                f"copy the file 'root' of mesh {mesh!r} into it"
            )
        has_head = carrier is not None and await _mesh_has_head(carrier)
        if has_head and not Authority.exists(
            authority_folder
        ):  # another process may just have made it
            raise ForeignAuthority(
                f"mesh {mesh!r} has an authority already, and {authority_folder} does not hold it: "
                "restore that folder from its machine, or start with empty streams"
            )
    return await asyncio.to_thread(
        Authority.create_or_load,
        authority_folder,
        mesh=mesh,
        clock=clock,
        settings=settings,
        passphrase=passphrase,
    )


async def _mesh_has_head(carrier: Carrier) -> bool:
    try:
        await carrier.get(DIRECTORY, HEAD_KEY)
    except NotFound:
        return False
    return True


def pin_root(folder: Path, mesh: str, authority: Authority | None) -> Root:
    """The root this machine believes; the first one stays for ever. Raises `ForeignAuthority`."""
    try:
        root = Root.from_bytes(read_private(folder / _ROOT))
    except FileNotFoundError:
        if authority is None:
            raise
        root = authority.root
        write_atomic(folder / _ROOT, root.to_bytes())
    if root.mesh != mesh or (authority is not None and authority.root != root):
        raise ForeignAuthority(
            f"{folder} believes the authority {root.id.hex()} of mesh {root.mesh!r}, not this one: "
            f"set mesh.name to {root.mesh!r}, or mesh.data to another folder"
        )
    return root


__all__ = ["find_authority", "pin_root"]
