"""Validation beside the event loop: processes that are started when they are needed and ended when they hang."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import AsyncIterator
from typing import ClassVar, Final

import msgspec

from adapters.fhir.judge import LENGTH_BYTES, Finding, Report
from adapters.fhir.link import Count
from adapters.fhir.settings import Validation, ValidationMode
from bus.telemetry.log import logger
from schemas.errors import MeshError

_log = logger(__name__)
_REPORT: Final = msgspec.json.Decoder(Report)
_MAX_REPORT_BYTES: Final = 1 << 20
_WAITING: Final = 8
"""Sampled resources that may wait for each process; further ones are left out, counted."""
_SHOWN: Final = 5


class ValidationFailed(MeshError):
    """The validation itself did not end: too slow, or its process broke. It says nothing about the resource."""

    code: ClassVar[str] = "validation_failed"
    retryable: ClassVar[bool] = True


class _Worker:
    """One process. Broken once anything goes wrong; then it is replaced."""

    def __init__(self, release: str) -> None:
        self._release = release
        self._process: asyncio.subprocess.Process | None = None

    async def ask(self, body: bytes, timeout_s: float) -> Report:
        """Validate one resource. Raises `ValidationFailed`."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._ask(body)
        except TimeoutError:
            reason = f"no result within {timeout_s:g} s (validation.timeout_s)"
        except (OSError, EOFError, msgspec.DecodeError) as error:
            reason = f"its process broke ({type(error).__name__})"
        except asyncio.CancelledError:
            await self.stop()  # its answer may still come, and must not be taken for the next one's
            raise
        await self.stop()
        raise ValidationFailed(f"validation: {reason}")

    async def _ask(self, body: bytes) -> Report:
        process = self._process or await self._start()
        assert process.stdin is not None  # noqa: S101 (both are pipes)
        assert process.stdout is not None  # noqa: S101
        process.stdin.write(len(body).to_bytes(LENGTH_BYTES, "big") + body)
        await process.stdin.drain()
        length = int.from_bytes(await process.stdout.readexactly(LENGTH_BYTES), "big")
        if length > _MAX_REPORT_BYTES:
            raise EOFError
        return _REPORT.decode(await process.stdout.readexactly(length))

    async def _start(self) -> asyncio.subprocess.Process:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "adapters.fhir.judging",
            self._release,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # a terminal's Ctrl+C is for the program, which ends its processes itself
        )
        return self._process

    async def stop(self) -> None:
        """End the process at once."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await asyncio.shield(process.wait())


class Validator:
    """Validates as one link's `[adapter.validation]` says."""

    def __init__(
        self, settings: Validation, *, name: str, count: Count, chance: random.Random
    ) -> None:
        self._settings = settings
        self._name = name
        self._count = count
        self._chance = chance
        self._free: asyncio.LifoQueue[_Worker] = asyncio.LifoQueue()
        self._workers = tuple(
            _Worker(settings.release.value)
            for _ in range(0 if settings.mode is ValidationMode.OFF else settings.workers)
        )
        for worker in self._workers:
            self._free.put_nowait(worker)
        self._beside: set[asyncio.Task[None]] = set()

    async def findings(self, body: bytes) -> tuple[Finding, ...]:
        """What is wrong with a resource, as far as the mode looks before it goes on: () but with `on`.

        Raises `ValidationFailed`.
        """
        match self._settings.mode:
            case ValidationMode.OFF:
                return ()
            case ValidationMode.SAMPLE:
                self._sample(body)
                return ()
            case ValidationMode.ON:
                return await self._validate(body)

    async def settled(self) -> None:
        """Wait until what was sampled is validated."""
        while self._beside:
            await asyncio.wait(tuple(self._beside))

    async def stop(self) -> None:
        """End every process."""
        for task in tuple(self._beside):
            task.cancel()
        await self.settled()
        for worker in self._workers:
            await worker.stop()

    def _sample(self, body: bytes) -> None:
        if self._chance.random() >= self._settings.sample:
            return
        if len(self._beside) >= _WAITING * self._settings.workers:
            self._count("validation_left_out", "busy")
            return
        task = asyncio.get_running_loop().create_task(self._look(body))
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def _look(self, body: bytes) -> None:
        with contextlib.suppress(ValidationFailed):  # it is counted
            await self._validate(body)

    async def _validate(self, body: bytes) -> tuple[Finding, ...]:
        async with self._worker() as worker:
            try:
                report = await worker.ask(body, self._settings.timeout_s)
            except ValidationFailed as error:
                self._count("validation_failed", "timeout" if "within" in str(error) else "broken")
                raise
        self._tell(report)
        return report.findings

    @contextlib.asynccontextmanager
    async def _worker(self) -> AsyncIterator[_Worker]:
        worker = await self._free.get()
        try:
            yield worker
        finally:
            self._free.put_nowait(worker)

    def _tell(self, report: Report) -> None:
        if report.skipped:
            self._count("validation_left_out", "no_model_for_release")
        self._count("resource_validated", "findings" if report.findings else "")
        for finding in report.findings:
            self._count("validation_finding", finding.code)
        if report.findings:
            first = report.findings[0]
            _log.warning(
                "resource_has_findings",
                adapter=self._name,
                count=len(report.findings),
                where=first.path,
                code=first.code,
            )


def summary(findings: tuple[Finding, ...]) -> str:
    """`Patient.gender: string_type, Patient.?: extra_forbidden` for operators, at most five."""
    shown = ", ".join(f"{one.path}: {one.code}" for one in findings[:_SHOWN])
    rest = len(findings) - _SHOWN
    return shown + (f" and {rest} more" if rest > 0 else "")


__all__ = ["ValidationFailed", "Validator", "summary"]
