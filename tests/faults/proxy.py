"""A TCP proxy on loopback that cuts, stalls and delays what passes through it."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType

_CHUNK = 65536


class Proxy:
    """Passes connections on to `port` of `host` until a test orders otherwise. Use as an async context manager."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._delay_s = 0.0
        self._budget: int | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.connections = 0
        """How many connections were passed on so far."""

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def was_used(self, times: int) -> bool:
        """Whether so many connections were passed on."""
        return self.connections >= times

    def cut(self) -> None:
        """Break every connection at once (RST), and every new one until `heal`."""
        self._refusing = True
        self._abort()

    def break_connections(self) -> None:
        """Break what is connected now; new connections pass."""
        self._abort()

    def break_after(self, count: int) -> None:
        """Break everything once `count` more bytes went to the server: in the middle of whatever is sent then."""
        self._budget = count

    def stall(self) -> None:
        """Pass nothing in either direction; connections stay open, new ones are taken and kept waiting."""
        self._flowing.clear()

    def delay(self, seconds: float) -> None:
        """Hold back every chunk for so long, in each direction, in its order."""
        self._delay_s = seconds

    def heal(self) -> None:
        """Pass everything again."""
        self._refusing = False
        self._delay_s = 0.0
        self._budget = None
        self._flowing.set()

    def _abort(self) -> None:
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        server: asyncio.StreamWriter | None = None
        try:
            answers, server = await asyncio.open_connection(*self._target)
            self._writers.add(server)
            self.connections += 1
            await asyncio.gather(
                self._pump(reader, server, counted=True), self._pump(answers, writer)
            )
        except (OSError, asyncio.CancelledError):
            pass  # broken on order, by a peer, or at the end of the test
        finally:
            for side in (writer, server):
                if side is not None:
                    self._writers.discard(side)
                    side.transport.abort()
            self._tasks.discard(task)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool = False
    ) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=1024)
        out = asyncio.ensure_future(self._write(queue, writer))
        try:
            while chunk := await reader.read(_CHUNK):
                if counted and self._spend(len(chunk)):
                    return
                await queue.put((asyncio.get_running_loop().time() + self._delay_s, chunk))
            await queue.put((0.0, b""))
            await out
        finally:
            out.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await out

    async def _write(
        self, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        while True:
            due, chunk = await queue.get()
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            await self._flowing.wait()
            if not chunk:
                writer.write_eof()
                return
            writer.write(chunk)
            await writer.drain()

    def _spend(self, count: int) -> bool:
        if self._budget is None:
            return False
        self._budget -= count
        if self._budget > 0:
            return False
        self._budget = None
        self._abort()
        return True
