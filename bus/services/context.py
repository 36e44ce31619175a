"""The call in whose service the present task runs: calls made in turn get no more time than it has left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar, Token

from bus.services.protocol import CallContext

_current: ContextVar[CallContext | None] = ContextVar("medmesh_call", default=None)


def current_call() -> CallContext | None:
    """The call that the present task works; None outside of a handler and within `detached`."""
    return _current.get()


def enter(call: CallContext | None) -> Token[CallContext | None]:
    """Work a call until `leave`: tasks that begin meanwhile inherit its deadline and its trace."""
    return _current.set(call)


def leave(token: Token[CallContext | None]) -> None:
    """Work what was worked before `enter`."""
    _current.reset(token)


@contextmanager
def working(call: CallContext | None) -> Iterator[None]:
    """Work a call: tasks that begin in here inherit its deadline and its trace."""
    token = enter(call)
    try:
        yield
    finally:
        leave(token)


def detached() -> AbstractContextManager[None]:
    """Begin work that outlives the call: within `with`, calls do not inherit its deadline."""
    return working(None)


__all__ = ["current_call", "detached", "enter", "leave", "working"]
