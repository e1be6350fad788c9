"""Byte streams between two peers: chunks with credit, an end with trailers, errors and cancellation.

The laws of this file: nothing is sent that the reader has not granted room for; nothing is granted before the
reader reads; whoever stops early tells the other; a peer whose subject has vanished is noticed by the server's
"no responders"; every stream ends at its call's deadline at the latest. The frames are in `frames.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

from trellis_lattice.bus.connection import Connection, Inbox, Message
from trellis_lattice.errors import DeadlineExceeded, PeerMisbehaved, RequestInvalid, TrellisError, Unavailable
from trellis_lattice.invocation import frames
from trellis_lattice.invocation.frames import CHUNK, HEAD_SIZE, WINDOW, Frame, Kind, StreamRef
from trellis_lattice.invocation.headers import is_no_responders
from trellis_lattice.invocation.tasks import Tasks
from trellis_lattice.streams import BytesBody, ByteStream, Fields, Pipe
from trellis_lattice.wit.cbor import dumps, loads

__all__ = ["INLINE", "MAX_MESSAGE", "Incoming", "Outgoing", "StreamHub"]

INLINE = 128 * 1024
"""Longest body that is sent within the message it belongs to."""
_PROBE_INTERVAL = 1.0
"""Seconds without a frame after which a reader asks whether its writer still lives."""
MAX_MESSAGE = 16 * 1024 * 1024
"""Most bytes of encoded arguments, or of an encoded result."""


class Outgoing:
    """The writing end: sends `stream` to whoever grants credit at `subject`, until `deadline`."""

    def __init__(self, hub: StreamHub, stream: ByteStream, deadline: float) -> None:
        self._hub = hub
        self._stream = stream
        self._deadline = deadline
        self._inbox = hub.connection.inbox(self._on_message)
        self._credit = 0
        self._reader = ""
        self._reader_gone = False
        self._over = False
        self._granted: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_at(deadline, self.close)
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def subject(self) -> str:
        return self._inbox.subject

    def close(self) -> None:
        """Stops sending; the stream's writer notices. Idempotent."""
        if self._task is not None:
            self._task.cancel()
        elif not self._over:
            self._end()

    async def wait_done(self) -> None:
        """Returns once nothing more will be sent."""
        await asyncio.shield(self._done)

    def _on_message(self, message: Message) -> None:
        frame = None
        if not is_no_responders(message.headers, message.data):
            with contextlib.suppress(PeerMisbehaved):
                frame = frames.parse(message.data)
        if frame is None or frame.kind is not Kind.CREDIT:
            self._reader_gone = True
            self.close()
        else:
            self._credit = min(self._credit + frame.number, WINDOW)
            self._reader = self._reader or message.reply
            if self._task is None and not self._over:
                # The task has the deadline itself, and tells the reader that it passed.
                self._timer.cancel()
                # Not in a `finally` of the task: that does not run if it is cancelled before its first step.
                self._task = self._hub.tasks.spawn(self._run(), self._end)
            elif self._granted is not None and not self._granted.done():
                self._granted.set_result(None)

    async def _run(self) -> None:
        sequence = 0
        try:
            async with asyncio.timeout_at(self._deadline):
                while True:
                    while self._credit <= 0:
                        self._granted = asyncio.get_running_loop().create_future()
                        await self._granted
                    chunk = await self._stream.read(min(self._hub.chunk, self._credit))
                    if not chunk:
                        break
                    self._credit -= len(chunk)
                    await self._send(frames.data(sequence, chunk))
                    sequence += 1
                await self._send(frames.end(sequence, await self._stream.trailers()))
        except TimeoutError:
            late = DeadlineExceeded("The deadline of the call passed before its stream was at its end.")
            await self._hub.try_publish(self._reader, frames.error(sequence, late))
        except TrellisError as error:
            await self._hub.try_publish(self._reader, frames.error(sequence, error))
        except asyncio.CancelledError:
            if not self._reader_gone:
                failure = Unavailable("The writer of a stream gave up.", maybe_executed=True)
                await self._hub.try_publish(self._reader, frames.error(sequence, failure))
            raise

    async def _send(self, frame: bytes) -> None:
        await self._hub.connection.publish(self._reader, frame, reply=self._inbox.subject)

    def _end(self) -> None:
        self._over = True
        self._timer.cancel()
        self._inbox.close()
        self._hub.tasks.spawn(self._close_stream())

    async def _close_stream(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._hub.outgoing.discard(self)
            if not self._done.done():
                self._done.set_result(None)


class Incoming:
    """The reading end (`ByteStream`) of a stream whose rest is asked for at `ref.more`."""

    def __init__(self, hub: StreamHub, ref: StreamRef, deadline: float) -> None:
        self._hub = hub
        self._more = ref.more or ""
        self.host = ref.host
        self._timer = asyncio.get_running_loop().call_at(deadline, self._expire)
        self._buffer: deque[bytes] = deque([ref.head] if ref.head else [])
        self._order = frames.SequenceChecker()
        self._credit = frames.CreditCounter()
        self._uncounted = len(ref.head)
        """Bytes at the front of the buffer that came with the reference and cost no credit."""
        self._inbox: Inbox | None = None
        self._ended = False
        self._closed = False
        self._error: TrellisError | None = None
        self._trailers: Fields | None = None
        self._wake: asyncio.Future[None] | None = None

    async def read(self, limit: int) -> bytes:
        await self._open()
        while not self._buffer:
            if self._error is not None:
                raise self._error
            if self._ended or self._closed:
                return b""
            await self._changed()
        chunk = self._buffer.popleft()
        if len(chunk) > limit:
            self._buffer.appendleft(chunk[limit:])
            chunk = chunk[:limit]
        await self._consumed(len(chunk))
        return chunk

    async def trailers(self) -> Fields | None:
        while await self.read(CHUNK):
            pass
        return self._trailers

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._buffer.clear()
        if not self._ended and self._error is None:
            await self._hub.try_publish(self._more, frames.cancel())
        self._release()

    def fail(self, error: TrellisError) -> None:
        """Ends the stream: its reader gets `error` after the bytes that are here."""
        if not self._ended and self._error is None:
            self._error = error
            self._release()

    async def _open(self) -> None:
        if self._inbox is None and not self._closed and self._error is None:
            self._inbox = self._hub.connection.inbox(self._on_message)
            await self._hub.connection.publish(self._more, frames.credit(WINDOW), reply=self._inbox.subject)

    async def _consumed(self, size: int) -> None:
        free = min(self._uncounted, size)
        self._uncounted -= free
        grant = self._credit.consumed(size - free)
        if grant and not self._ended and self._error is None and self._inbox is not None:
            await self._hub.connection.publish(self._more, frames.credit(grant), reply=self._inbox.subject)

    async def _changed(self) -> None:
        """Waits for the next frame, for `_PROBE_INTERVAL` at most."""
        loop = asyncio.get_running_loop()
        self._wake = loop.create_future()
        try:
            async with asyncio.timeout_at(loop.time() + _PROBE_INTERVAL):
                await self._wake
        except TimeoutError:
            if self._inbox is not None and self._error is None:
                # If the writer is gone, the server answers this with "no responders".
                await self._hub.connection.publish(self._more, frames.credit(0), reply=self._inbox.subject)

    def _expire(self) -> None:
        self.fail(DeadlineExceeded("The deadline of the call passed while its stream was read."))
        self._hub.tasks.spawn(self._hub.try_publish(self._more, frames.cancel()))

    def _on_message(self, message: Message) -> None:
        try:
            if is_no_responders(message.headers, message.data):
                raise Unavailable("The writer of a stream is gone.", maybe_executed=True)
            frame = frames.parse(message.data)
            self._order.accept(frame)
            self._take(frame)
        except TrellisError as error:
            self.fail(error)
        self._notify()

    def _take(self, frame: Frame) -> None:
        if frame.kind is Kind.DATA:
            self._credit.received(len(frame.rest))
            if not self._closed:
                self._buffer.append(frame.rest)
        elif frame.kind is Kind.END:
            self._trailers = frame.trailers()
            self._ended = True
            self._release()
        elif frame.kind is Kind.ERROR:
            raise frame.failure()
        else:
            raise PeerMisbehaved(f"The writer of a stream sent a {frame.kind.name.lower()} frame.")

    def _release(self) -> None:
        self._timer.cancel()
        self._hub.incoming.discard(self)
        if self._inbox is not None:
            self._inbox.close()
        self._notify()

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


class StreamHub:
    """All streams that one client or server has open on a connection. `host` goes into the references it makes."""

    def __init__(self, connection: Connection, host: str | None) -> None:
        self.connection = connection
        self.host = host
        self.tasks = Tasks()
        self.incoming: set[Incoming] = set()
        self.outgoing: set[Outgoing] = set()
        self._stop_listening = connection.listen(self._on_connection)

    @property
    def chunk(self) -> int:
        """Most bytes of one data frame."""
        return min(CHUNK, self.connection.max_payload - HEAD_SIZE)

    def lower(self, stream: Any, deadline: float, opened: Callable[[Outgoing], None]) -> Any:
        """A stream as CBOR-ready reference: whole if it is here and short, else by credit.

        `opened` is told of what has to be closed later. Raises `ValueError` if it is no stream.
        """
        if isinstance(stream, BytesBody) and len(stream.remaining) <= INLINE:
            return StreamRef(stream.remaining, trailers=stream.final_trailers).to_wire()
        head = b""
        if isinstance(stream, Pipe):
            if stream.ended and stream.failure is None and stream.size <= INLINE:
                return StreamRef(_drain(stream), trailers=stream.final_trailers).to_wire()
            head = stream.read_nowait(self.chunk)
        elif not callable(getattr(stream, "read", None)):
            raise ValueError("an object with read, trailers and aclose")
        outgoing = Outgoing(self, stream, deadline)
        self.outgoing.add(outgoing)
        opened(outgoing)
        return StreamRef(head, more=outgoing.subject, host=self.host).to_wire()

    def lift(self, wire: Any, deadline: float, opened: Callable[[Incoming], None]) -> ByteStream:
        """The stream behind a reference. Raises `ValueError` if it is none."""
        ref = StreamRef.from_wire(wire)
        if ref.more is None:
            return BytesBody(ref.head, ref.trailers)
        incoming = Incoming(self, ref, deadline)
        self.incoming.add(incoming)
        opened(incoming)
        return incoming

    def lower_message(self, payload: bytes, deadline: float, opened: Callable[[Outgoing], None]) -> bytes:
        """The payload of a message that says where the rest of `payload` is. Raises `RequestInvalid` if too long."""
        check_size(len(payload))
        head = min(self.chunk, self.connection.max_payload // 2)
        outgoing = Outgoing(self, BytesBody(payload[head:]), deadline)
        self.outgoing.add(outgoing)
        opened(outgoing)
        ref = StreamRef(payload[:head], more=outgoing.subject, host=self.host, size=len(payload))
        return dumps(ref.to_wire())

    async def lift_message(self, payload: bytes, deadline: float) -> bytes:
        """The inverse: waits for all parts. Raises `PeerMisbehaved`, `RequestInvalid`, or the stream's error."""
        try:
            ref = StreamRef.from_wire(loads(payload))
        except ValueError as error:
            raise PeerMisbehaved(f"A message in parts is not {error}.") from None
        check_size(ref.size or 0)
        parts: list[bytes] = []
        size = 0
        stream = self.lift(ref.to_wire(), deadline, lambda _: None)
        try:
            while chunk := await stream.read(CHUNK):
                parts.append(chunk)
                size += len(chunk)
                check_size(size)
        finally:
            await stream.aclose()
        if ref.size is not None and size != ref.size:
            raise PeerMisbehaved(f"A message of {ref.size} bytes came with {size}.")
        return b"".join(parts)

    def host_gone(self, host: str) -> None:
        """Ends the streams that `host` writes."""
        for incoming in [each for each in self.incoming if each.host == host]:
            incoming.fail(Unavailable(f"Host {host} died while it sent a stream.", maybe_executed=True, host=host))

    async def try_publish(self, subject: str, payload: bytes) -> None:
        """For farewells: without a connection there is nobody to tell."""
        try:
            if subject:
                await self.connection.publish(subject, payload)
        except TrellisError:
            pass

    async def aclose(self) -> None:
        self._stop_listening()
        for incoming in tuple(self.incoming):
            await incoming.aclose()
        for outgoing in tuple(self.outgoing):
            outgoing.close()
        for outgoing in tuple(self.outgoing):
            await outgoing.wait_done()
        await self.tasks.aclose()

    def _on_connection(self, connected: bool) -> None:
        if not connected:
            for incoming in tuple(self.incoming):
                incoming.fail(
                    Unavailable("The connection to NATS was lost while a stream was read.", maybe_executed=True)
                )


def check_size(size: int) -> None:
    """Refuses messages that are too long, before they are sent and while they arrive."""
    if size > MAX_MESSAGE:
        raise RequestInvalid(
            f"The values of one call take {size} bytes; {MAX_MESSAGE} can be sent.",
            remedy="Send less, or send it as a stream.",
            size=size,
            limit=MAX_MESSAGE,
        )


def _drain(pipe: Pipe) -> bytes:
    parts = []
    while chunk := pipe.read_nowait(INLINE):
        parts.append(chunk)
    return b"".join(parts)
