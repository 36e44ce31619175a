"""Signing in and out, and light or dark."""

from __future__ import annotations

from typing import Final

from gateway.access.protocol import Credentials, Forbidden, Unauthenticated
from gateway.console.desk import Desk
from gateway.console.web import (
    COOKIE,
    ROOT,
    THEME_COOKIE,
    THEMES,
    Reply,
    cookie,
    form,
    own_path,
    query,
    redirect,
)
from gateway.http.request import Bounds, Request

SIGN_IN: Final = f"{ROOT}/sign-in"
THEME: Final = f"{ROOT}/theme"
_YEAR_S: Final = 31_536_000
_LONGEST: Final = 16_384


class Signing:
    """Pages for whom nobody knows yet."""

    def __init__(self, desk: Desk, bounds: Bounds) -> None:
        self._desk = desk
        self._bounds = bounds

    def ask(
        self, request: Request, *, next_path: str = "", problem: str = "", status: int = 200
    ) -> Reply:
        """The form."""
        going = own_path(next_path)
        return self._desk.bare(request, "sign_in", status=status, next=going, problem=problem)

    async def sign_in(self, request: Request) -> Reply:
        """Show the form, or take it: an API key or a bearer token for a session. Raises `Refused`, `TooMany`."""
        if request.method != "POST":
            asked = query(request).get("next", ("",))[0]
            return self.ask(request, next_path=asked)
        fields = await form(request, self._bounds)
        proof = fields.get("proof", ("",))[0].strip()
        going = own_path(fields.get("next", ("",))[0])
        if not proof or len(proof) > _LONGEST or not proof.isascii():
            return self.ask(request, next_path=going, problem="Give a key or a token.", status=400)
        try:
            session = await self._desk.sign_in(
                request, Credentials(authorization=f"Bearer {proof}")
            )
        except Unauthenticated as error:
            return self.ask(request, next_path=going, problem=_sentence(error), status=401)
        except Forbidden as error:
            return self.ask(request, next_path=going, problem=_sentence(error), status=403)
        return redirect(going, self._desk.session_cookie(request, session))

    def sign_out(self, request: Request) -> Reply:
        """Take the cookie back."""
        gone = cookie(COOKIE, "", max_age_s=0, is_secure=self._desk.is_secure(request))
        return redirect(SIGN_IN, gone, (b"clear-site-data", b'"cache"'))

    async def theme(self, request: Request) -> Reply:
        """Remember light or dark in this browser."""
        fields = await form(request, self._bounds)
        wanted = fields.get("theme", ("",))[0]
        going = own_path(fields.get("next", ("",))[0])
        if wanted not in THEMES:
            return redirect(going)
        is_secure = self._desk.is_secure(request)
        return redirect(going, cookie(THEME_COOKIE, wanted, max_age_s=_YEAR_S, is_secure=is_secure))


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


__all__ = ["SIGN_IN", "THEME", "Signing"]
