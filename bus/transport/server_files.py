"""What the embedded server keeps on disk: its folder, its secrets, its configuration, who runs it."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Final, TypeVar

from bus.transport.ports import free_ports
from schemas.errors import ConfigurationError, Unavailable

_USER: Final = "medmesh"
_ACCOUNT: Final = "MESH"
_NAMELESS_ACCOUNT: Final = "$G"
"""Where the clients of a server without accounts are. It tells nobody whose connection ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach a running server. Written to `connection.json` (mode 0600) for other processes of this machine."""

    servers: tuple[str, ...]
    user: str
    password: str = field(repr=False)
    monitor_url: str
    pid: int
    started: str
    """The process's start time as the system counts it: tells it from a later process with the same number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What stays the same over restarts, so that clients of other processes find the server again."""

    port: int
    monitor_port: int
    password: str = field(repr=False)


class Folder:
    """`<data>/nats`: only its owner may look inside."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.config = self.path / "server.conf"
        self.log = self.path / "server.log"
        self.store = self.path / "store"
        self._connection = self.path / "connection.json"
        self._identity = self.path / "identity.json"
        self._lock = self.path / "owner.lock"

    def create(self) -> None:
        """Make the folder. Raises `ConfigurationError` where that is impossible."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.store.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigurationError(
                f"mesh.data: {self.path} cannot be used for the embedded server: {error.strerror}"
            ) from None

    def lock(self) -> int | None:
        """Become the owner; None while another process is. The lock falls when the process ends, however it ends."""
        handle = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return None
        return handle

    def identity(self) -> Identity:
        """The ports and the password, chosen once; a port that something else took is chosen anew."""
        known = read_record(self._identity, Identity)
        ports = (known.port, known.monitor_port) if known else (0, 0)
        port, monitor_port = free_ports(ports)
        identity = Identity(
            port=port,
            monitor_port=monitor_port,
            password=known.password if known else secrets.token_urlsafe(32),
        )
        if identity != known:
            write_record(self._identity, identity)
        return identity

    def access(self) -> Access | None:
        """What the last owner wrote about its server."""
        found = read_record(self._connection, Access)
        if found is None:
            return None
        return Access(**{**asdict(found), "servers": tuple(found.servers)})

    def announce(self, identity: Identity, *, pid: int, started: str) -> Access:
        """Write down how the server that was just started is reached."""
        access = Access(
            servers=(f"nats://127.0.0.1:{identity.port}",),
            user=_USER,
            password=identity.password,
            monitor_url=f"http://127.0.0.1:{identity.monitor_port}",
            pid=pid,
            started=started,
        )
        write_record(self._connection, access)
        return access

    def withdraw(self) -> None:
        """Nothing runs any more."""
        self._connection.unlink(missing_ok=True)

    def adopt_streams(self) -> None:
        """Take over the streams of a server that had no accounts yet: JetStream keeps each account's apart.

        Done before the server starts. Each step is one rename, so that a crash between two of them loses nothing.
        Raises `ConfigurationError` where both accounts hold a stream of one name, `Unavailable`.
        """
        old = self.store / "jetstream" / _NAMELESS_ACCOUNT
        new = self.store / "jetstream" / _ACCOUNT
        try:
            if old.is_dir() and not new.exists():
                old.rename(new)
            elif (old / "streams").is_dir():
                _move_streams(old / "streams", new / "streams")
        except OSError as error:
            raise Unavailable(
                f"mesh.data: the streams in {old} cannot be moved to {new}: {error.strerror or error}"
            ) from error

    def write_config(
        self, identity: Identity, *, max_payload_bytes: int, max_store_bytes: int
    ) -> None:
        """Write the server's configuration. Raises `Unavailable`."""
        write_private(
            self.config,
            f"""# Written by medmesh at each start; changes are lost.
server_name: medmesh
listen: "127.0.0.1:{identity.port}"
http: "127.0.0.1:{identity.monitor_port}"
max_payload: {max_payload_bytes}
max_pending: {max(64 * 1024 * 1024, 4 * max_payload_bytes)}
log_file: {json.dumps(str(self.log))}
logfile_size_limit: {16 * 1024 * 1024}
logfile_max_num: 4
accounts {{
  {_ACCOUNT} {{
    jetstream: enabled
    users: [ {{ user: {_USER}, password: {json.dumps(identity.password)} }} ]
    imports: [ {{ stream: {{ account: SYS, subject: "$SYS.ACCOUNT.{_ACCOUNT}.DISCONNECT" }} }} ]
  }}
  SYS {{
    exports: [
      {{ stream: "$SYS.ACCOUNT.*.DISCONNECT", account_token_position: 3, accounts: [{_ACCOUNT}] }}
    ]
  }}
}}
system_account: SYS
jetstream {{
  store_dir: {json.dumps(str(self.store))}
  sync_interval: always
  max_file_store: {max_store_bytes}
}}
""",
        )


def _move_streams(old: Path, new: Path) -> None:
    """An older medmesh ran on this folder after a newer one: what it stored is joined with the rest."""
    streams = sorted(old.iterdir())
    twice = [stream.name for stream in streams if (new / stream.name).exists()]
    if twice:
        raise ConfigurationError(
            f"mesh.data: both {old} and {new} hold {', '.join(twice)}: an older medmesh ran on this folder after a "
            "newer one, and each stored messages that the other does not have. Nothing is lost: run the older one "
            f"until everything it holds is delivered, then move {old} away and start this one"
        )
    new.mkdir(parents=True, exist_ok=True, mode=0o700)
    for stream in streams:
        stream.rename(new / stream.name)


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner alone. Raises `Unavailable`: a full disk can be mended."""
    draft = path.with_name(path.name + ".new")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise Unavailable(
            f"mesh.data: {path} cannot be written: {error.strerror or error}; "
            "the embedded server does not start without it"
        ) from error


R = TypeVar("R", Access, Identity)


def write_record(path: Path, record: Access | Identity) -> None:
    """Write a dataclass as JSON."""
    write_private(path, json.dumps(asdict(record), indent=1))


def read_record(path: Path, kind: type[R]) -> R | None:
    """Read a dataclass back; None when the file is missing or is not what was written."""
    try:
        found = json.loads(path.read_text())
        return kind(**{key.name: found[key.name] for key in fields(kind)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


__all__ = ["Access", "Folder", "Identity", "write_private"]
