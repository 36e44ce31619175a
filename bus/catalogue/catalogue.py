"""What the publishers of one process are held to: every binding verified, compiled, and followed as it changes.

Publishing looks into a table in memory and never waits for the registry. While the registry is away the last known
bindings hold, also after a restart: they lie on this machine's disk. A binding that vanishes from the bucket without a
signed removal, or that is older than the one known, changes nothing and is counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bus.catalogue.buckets import CALL_S, Buckets, answered, open_bindings, open_schemas
from bus.catalogue.cache import RegistryCache
from bus.catalogue.descriptors import DescriptorStore
from bus.catalogue.seals import Believed, BindingVerifier, claimed_key
from bus.envelope.types import Reason, Refused
from bus.telemetry.counters import Counters
from bus.telemetry.log import logger
from bus.transport.protocol import Entry, Subscription
from schemas.errors import MeshError
from schemas.registry.checks import compile_check
from schemas.registry.closures import Closure
from schemas.registry.errors import Misfit, SchemaError, SchemaRefused
from schemas.registry.models import Binding, Depth, Kind, Mode
from schemas.registry.patterns import is_of_calls
from schemas.registry.table import BindingTable

_log: Final = logger("catalogue")
MAX_BINDINGS: Final = 4096
AGAIN_S: Final = 15.0
"""How often what could not be had is asked for again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueState:
    """How the catalogue of a process is, for operators."""

    mode: Mode
    bindings: int
    is_live: bool
    """Whether the registry is followed now; False: what holds is what was known last."""
    incomplete: tuple[str, ...]
    """Patterns whose schema could not be had: only their content types are checked."""


class Catalogue:
    """The live bindings of a site; `start`, `state`, `stop`. `check` is what a publisher asks."""

    def __init__(
        self,
        *,
        buckets: Buckets,
        verifier: BindingVerifier,
        folder: Path,
        mode: Mode,
        reachable: Callable[[], bool],
        counters: Counters,
    ) -> None:
        self._buckets = buckets
        self._verifier = verifier
        self._cache = RegistryCache(folder)
        self._mode = mode
        self._reachable = reachable
        self._counters = counters
        self._table = BindingTable()
        self._answers = BindingTable()
        self._known: dict[str, Believed] = {}
        self._descriptors: DescriptorStore | None = None
        self._watch: Subscription | None = None
        self._changes: dict[str, bytes | None] = {}
        self._again: dict[str, bytes] = {}
        """Records to look at again: their schema is missing, or their writer's clock is ahead."""
        self._incomplete: set[str] = set()
        self._awaited: set[str] = set()
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._reported: set[tuple[str, Misfit]] = set()

    # the verbs

    async def start(self) -> None:
        """Take in what this machine knew last, then what the registry says; returns when both hold.

        Raises nothing when the registry is away: it is asked again and again.
        """
        if self._worker is not None:
            return
        for raw in await asyncio.to_thread(lambda: list(self._cache.bindings())):
            with suppress(Refused, SchemaError):
                await self._take(claimed_key(raw), raw, is_cached=True)
        is_connected = await self._connect()
        self._worker = asyncio.create_task(self._work(), name="catalogue")
        if is_connected:
            with suppress(TimeoutError):
                async with asyncio.timeout(CALL_S):
                    await self._settled.wait()

    def state(self) -> CatalogueState:
        """Answer at once."""
        return CatalogueState(
            mode=self._mode,
            bindings=len(self._table),
            is_live=self._watch is not None and self._reachable(),
            incomplete=tuple(sorted(self._incomplete)),
        )

    async def stop(self) -> None:
        """Follow no more."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
        watch, self._watch = self._watch, None
        if watch is not None:
            with suppress(MeshError):
                await answered(watch.close())

    # what publishers ask

    def check(self, subject: str, content_type: str, body: bytes) -> bytes:
        """Raise `SchemaRefused` for content that its subject is not bound to; in mode `warn` only count and log it.

        Returns the hash of the schema that the content follows; empty where none is bound.
        """
        try:
            return self._table.check(subject, content_type, body)
        except SchemaRefused as refusal:
            self._report(refusal)
            if self._mode is Mode.ENFORCE:
                raise
            return b""

    def check_request(self, subject: str, content_type: str, body: bytes) -> None:
        """Raise `SchemaRefused` for a request that the method is not bound to, before anybody is asked."""
        self.check(subject, content_type, body)

    def check_answer(self, subject: str, content_type: str, body: bytes) -> None:
        """Raise `SchemaRefused` for an answer that the method is not bound to; what was asked for may be done."""
        try:
            self._answers.check(subject, content_type, body)
        except SchemaRefused as refusal:
            self._report(refusal)
            if self._mode is Mode.ENFORCE:
                raise

    def _report(self, refusal: SchemaRefused) -> None:
        name = "schema_refused" if self._mode is Mode.ENFORCE else "schema_misfit_passed"
        self._counters.add(name, who=refusal.pattern, reason=refusal.misfit.value)
        seen = (refusal.pattern, refusal.misfit)
        if (
            seen not in self._reported
        ):  # once for each binding and reason: a broken sender sends thousands
            self._reported.add(seen)
            _log.warning(name, subject=refusal.pattern, reason=refusal.misfit.value)

    def bindings(self) -> tuple[Believed, ...]:
        """What holds now, by pattern."""
        held = (one for one in self._known.values() if not one.revision.is_removed)
        return tuple(sorted(held, key=lambda one: one.revision.binding.pattern))

    # following

    async def _connect(self) -> bool:
        try:
            if self._descriptors is None:
                self._descriptors = DescriptorStore(await open_schemas(self._buckets))
            bucket = await open_bindings(self._buckets)
            self._watch = await answered(bucket.watch(">", self._note))
            self._awaited = set(await answered(bucket.keys())) - self._changes.keys()
        except MeshError as error:
            self._counters.add("catalogue_unreachable", reason=error.code)
            _log.warning("catalogue_unreachable", reason=error.code)
            return False
        self._changed.set()
        return True

    def _note(self, entry: Entry) -> None:
        if len(self._changes) < 2 * MAX_BINDINGS:
            self._changes[entry.key] = entry.value
        else:
            self._refuse("too_many")
        self._awaited.discard(entry.key)
        self._changed.set()

    async def _work(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._changed.wait()
            self._changed.clear()
            if self._watch is None and not await self._connect():
                continue
            again, self._again = self._again, {}
            for key, raw in again.items():
                self._changes.setdefault(key, raw)
            while self._changes:
                key = next(iter(self._changes))
                await self._changed_to(key, self._changes.pop(key))
                await asyncio.sleep(
                    0
                )  # thousands may come at once, and each costs part of a millisecond
            if not self._awaited:
                self._settled.set()

    def _pause_s(self) -> float | None:
        return AGAIN_S if self._watch is None or self._again else None

    async def _changed_to(self, key: str, raw: bytes | None) -> None:
        if raw is None:
            if key in self._known and not self._known[key].revision.is_removed:
                self._refuse("unsigned_removal")
            return
        try:
            await self._take(key, raw)
        except Refused as error:
            if error.reason is Reason.CLOCK_SKEW:
                self._again[key] = raw
            self._refuse(error.reason.value)
        except SchemaError as error:
            self._refuse(error.code)

    async def _take(self, key: str, raw: bytes, *, is_cached: bool = False) -> None:
        """Believe one record. Raises `Refused`, `SchemaError`."""
        known = self._known.get(key)
        if known is not None and known.raw == raw and not self._is_incomplete(known):
            return
        believed = self._verifier.open(key, raw)
        revision = believed.revision
        if known is not None and revision.age < known.revision.age:
            raise Refused(Reason.REPLAYED, "a binding older than the one known")
        if known is None and len(self._known) >= MAX_BINDINGS:
            raise SchemaError(f"more than {MAX_BINDINGS} bindings")
        pattern = revision.binding.pattern
        if revision.is_removed:
            self._table.drop(pattern)
            self._answers.drop(pattern)
            self._incomplete.discard(pattern)
        else:
            closure = await self._closure(key, raw, revision.binding)
            check = compile_check(revision.binding, closure)
            answers = revision.binding.of_answers()
            check_answer = compile_check(answers, closure) if answers is not None else None
            self._table.put(pattern, check, revision.binding.schema)
            if is_of_calls(pattern):
                self._answers.put(pattern, check_answer)
        self._known[key] = believed
        self._reported = {one for one in self._reported if one[0] != pattern}
        if not is_cached:
            self._counters.add("binding_taken", reason="removed" if revision.is_removed else "")
            await self._keep(key, raw)

    def _is_incomplete(self, known: Believed) -> bool:
        return known.revision.binding.pattern in self._incomplete

    async def _closure(self, key: str, raw: bytes, binding: Binding) -> Closure | None:
        """The schema that a check needs; None where it needs none, or where it cannot be had now."""
        was_incomplete = binding.pattern in self._incomplete
        self._incomplete.discard(binding.pattern)
        if binding.kind is not Kind.PROTOBUF or binding.depth is not Depth.FULL:
            return None
        closure = await asyncio.to_thread(self._cache.closure, binding.schema)
        if closure is not None:
            return closure
        try:
            if self._descriptors is not None:
                closure = await self._descriptors.get(binding.schema)
                await asyncio.to_thread(self._cache.keep_closure, closure)
                return closure
            reason = "not_connected"
        except MeshError as error:
            reason = error.code
        self._counters.add("schema_missing", who=binding.pattern, reason=reason)
        if not was_incomplete:
            _log.warning("schema_missing", subject=binding.pattern, reason=reason)
        self._incomplete.add(binding.pattern)
        self._again[key] = raw
        return closure

    async def _keep(self, key: str, raw: bytes) -> None:
        try:
            await asyncio.to_thread(self._cache.keep_binding, key, raw)
        except MeshError as error:
            self._counters.add("binding_not_kept", reason=error.code)

    def _refuse(self, reason: str) -> None:
        self._counters.add("binding_refused", who="catalogue", reason=reason)
        _log.warning("binding_refused", reason=reason)


__all__ = ["AGAIN_S", "MAX_BINDINGS", "Catalogue", "CatalogueState"]
