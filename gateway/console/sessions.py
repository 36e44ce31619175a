"""Sessions of operators: a cookie that says who signed in, with a MAC by a key that all gateways of a site have. Pure.

No gateway keeps anything, so any of them takes the cookie. What the client may do is not in it: that is asked anew, of
the configuration, at each request.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

import msgspec

from gateway.access.own_tokens import hkdf_sha256
from gateway.access.protocol import Client, Proof
from schemas.errors import MeshError
from schemas.keyed import KeyedHash
from schemas.subjects import SiteId

_PURPOSE: Final = b"medmesh gateway console sessions 1"
_MAX_CHARS: Final = 3800
"""Browsers keep cookies of up to 4096 bytes, name and attributes included."""
_MAC_CHARS: Final = 43
_RENEW_AFTER: Final = 0.2
"""Share of `idle_s` after which a request gets a new cookie."""


class SessionRefused(MeshError, PermissionError):
    """No session, or one that does not count (any more)."""

    code: ClassVar[str] = "session_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One operator who signed in, on one browser."""

    client: str
    id: str
    """Random; forms are bound to it."""
    began_ms: int
    seen_ms: int
    """When the cookie was made or renewed."""
    ends_ms: int
    """Whatever happens, it ends then: `session_s` after it began, or with the proof that was shown."""
    user: str = field(default="", repr=False)
    scopes: tuple[str, ...] = ()
    compartment: str = field(default="", repr=False)

    def as_client(self) -> Client:
        """Who asks, for `Access`."""
        return Client(
            name=self.client,
            proof=Proof.SESSION,
            user=self.user,
            scopes=self.scopes,
            compartment=self.compartment,
            expires_ms=self.ends_ms,
        )


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Session, strict=True)


class Sessions:
    """Makes and believes cookies of one site."""

    def __init__(
        self,
        *,
        site: SiteId,
        site_key: bytes,
        idle_s: float,
        session_s: float,
        skew_s: float = 30.0,
    ) -> None:
        key = hkdf_sha256(site_key, salt=f"urn:medmesh:{site}:console".encode(), info=_PURPOSE)
        self._hash = KeyedHash(key)
        self._idle_ms = round(idle_s * 1000)
        self._session_ms = round(session_s * 1000)
        self._skew_ms = round(skew_s * 1000)
        """By how much the clocks of two gateways may differ."""

    def begin(self, client: Client, *, identifier: str, now_ms: int) -> Session:
        """A session for a client that has just proved who it is; `identifier`: random, 128 bits."""
        ends_ms = now_ms + self._session_ms
        if client.expires_ms:
            ends_ms = min(ends_ms, client.expires_ms)
        return Session(
            client=client.name,
            id=identifier,
            began_ms=now_ms,
            seen_ms=now_ms,
            ends_ms=ends_ms,
            user=client.user,
            scopes=client.scopes,
            compartment=client.compartment,
        )

    def seal(self, session: Session) -> str:
        """The cookie's value. Raises `SessionRefused` for more than a browser would keep."""
        body = _text(_ENCODER.encode(session))
        if len(body) + _MAC_CHARS + 1 > _MAX_CHARS:
            raise SessionRefused(
                "the client has more scopes than a session can hold; use an API key"
            )
        return f"{body}.{self._mac('session', body)}"

    def open(self, cookie: str, *, now_ms: int) -> Session:
        """The session of a cookie. Raises `SessionRefused`."""
        body, _, mac = cookie.partition(".")
        if len(cookie) > _MAX_CHARS or not hmac.compare_digest(
            self._mac("session", body).encode(), mac.encode(errors="replace")
        ):
            raise SessionRefused("the session is none of this site's: sign in")
        try:
            session = _DECODER.decode(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        except (ValueError, Base64Error):
            raise SessionRefused("the session is of another version: sign in") from None
        if session.seen_ms > now_ms + self._skew_ms:
            raise SessionRefused("the session comes from the future: clocks of gateways differ")
        if now_ms >= min(session.ends_ms, session.seen_ms + self._idle_ms):
            raise SessionRefused("the session has ended: sign in again")
        return session

    def renewed(self, session: Session, *, now_ms: int) -> Session | None:
        """The session as of now, where its cookie is worth a new one."""
        if now_ms - session.seen_ms < self._idle_ms * _RENEW_AFTER:
            return None
        return replace(session, seen_ms=now_ms)

    def left_s(self, session: Session, *, now_ms: int) -> int:
        """Seconds until it ends if nothing is done."""
        return max(0, min(session.ends_ms, session.seen_ms + self._idle_ms) - now_ms) // 1000

    def form_token(self, session: Session) -> str:
        """What each form of a session carries, so that no other page can send one (CSRF)."""
        return self._mac("form", session.id)

    def is_form_token(self, session: Session, token: str) -> bool:
        """Whether a form is one of this session's; the time it takes tells nothing."""
        return hmac.compare_digest(
            self.form_token(session).encode(), token.encode(errors="replace")
        )

    def _mac(self, purpose: str, text: str) -> str:
        return _text(self._hash.digest(f"{purpose}\0".encode(), text.encode(errors="replace")))


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


__all__ = ["Session", "SessionRefused", "Sessions"]
