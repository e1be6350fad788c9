"""nats-py's client without its detours: a message goes from the socket to its callback, and from `publish` to the
socket, in the same step.

nats-py hands what it receives to a task that reads, and every message through a queue to a task per subscription;
it parses headers character by character, and hands everything it sends through a queue to a flusher task. For
short calls that is most of their cost. The law of this file: it is the only one that reaches into nats-py, and it
falls back to nats-py's own way wherever the short one does not apply (no TCP, bytes waiting to be sent or parsed,
messages in pieces, status lines, foreign subscriptions).
"""

from __future__ import annotations

import asyncio
import re
import ssl
from asyncio import StreamReader
from collections.abc import Callable, Mapping
from typing import Any

from nats.aio.client import DEFAULT_BUFFER_SIZE, Client
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from nats.protocol.parser import AWAITING_CONTROL_LINE

from trellis_lattice.bus.greeting import greet
from trellis_lattice.bus.settings import ConnectionSettings

__all__ = ["GREETING_TIMEOUT", "DirectClient", "DirectMessage"]

GREETING_TIMEOUT = 2.0
"""Seconds for each step of the greeting."""

_MAX_UNSENT = 256 * 1024
"""Bytes in the socket's buffer beyond which nats-py's way, which waits for room, is taken."""
_SUBJECT = re.compile(r"[^\s]+")
_HEADER_LINE = b"NATS/1.0\r\n"
_REFUSAL = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"', re.IGNORECASE)


class DirectMessage:
    """What a subscription delivers. `headers` is None if there are none; `reply` is empty if none is awaited."""

    __slots__ = ("data", "headers", "reply", "subject")

    def __init__(self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None) -> None:
        self.subject = subject
        self.reply = reply
        self.data = data
        self.headers = headers


class DirectClient(Client):
    """A nats-py client that greets as `greeting` does; its subscriptions may have a plain function for a callback.

    `on_refusal(what, subject)`: the server refused a `publish` or a `subscription`, and says so.
    """

    def __init__(self, settings: ConnectionSettings, on_refusal: Callable[[str, str], None] | None = None) -> None:
        super().__init__()
        self.settings = settings
        self._on_refusal = on_refusal or (lambda what, subject: None)
        self._callbacks: dict[int, Callable[[DirectMessage], None]] = {}
        self.asked_alive = 0
        """How often the server asked whether we live."""

    @property
    def server_info(self) -> Mapping[str, Any]:
        """What the server last told about itself; empty before the first connection."""
        return self._server_info if isinstance(self._server_info, dict) else {}

    def deliver_to(self, subscription: Subscription, callback: Callable[[DirectMessage], None]) -> None:
        """From now on messages of `subscription` go to `callback`, which neither blocks nor raises."""
        self._callbacks[subscription._id] = callback

    def forget(self, subscription: Subscription) -> None:
        """Undoes `deliver_to`."""
        self._callbacks.pop(subscription._id, None)

    async def unsubscribe_only(self, subscription: Subscription) -> None:
        """Tells the server, and still takes what is on its way."""
        await self._send_unsubscribe(subscription._id)

    def drop_unsent(self) -> None:
        """Forgets what was not sent yet."""
        self._pending.clear()
        self._pending_data_size = 0

    def publish_now(self, subject: str, payload: bytes, reply: str, headers: Mapping[str, str] | None) -> bool:
        """Writes a message to the socket; False if that is not possible at once and nothing was done."""
        transport = self._transport
        if type(transport) is not TcpTransport or self._pending or not self.is_connected:
            return False
        writer = transport._io_writer
        if writer is None or writer.transport.is_closing() or writer.transport.get_write_buffer_size() > _MAX_UNSENT:
            return False
        if not _SUBJECT.fullmatch(subject) or (reply and not _SUBJECT.fullmatch(reply)):
            return False
        if headers:
            text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
            if text.count("\n") != len(headers) or text.count("\r") != len(headers):
                return False
            block = _HEADER_LINE + text.encode() + b"\r\n"
            size = len(block) + len(payload)
            command = f"HPUB {subject} {reply} {len(block)} {size}\r\n".encode() + block
        else:
            size = len(payload)
            command = f"PUB {subject} {reply} {size}\r\n".encode()
        if size > self._max_payload:
            return False
        writer.write(b"%b%b\r\n" % (command, payload))
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += len(payload)
        return True

    @property
    def certificate_until(self) -> str | None:
        """When the server's TLS certificate expires, as `ssl` writes it; None without TLS."""
        writer = getattr(self._transport, "_io_writer", None)
        secured = writer.get_extra_info("ssl_object") if writer is not None else None
        certificate = secured.getpeercert() if secured is not None else None
        return str(certificate["notAfter"]) if certificate and "notAfter" in certificate else None

    async def _process_ping(self) -> None:
        """The server asks whether we live."""
        self.asked_alive += 1
        await super()._process_ping()

    async def _process_connect_init(self) -> None:
        """nats-py's greeting, replaced by ours; then the tasks that it starts."""
        self._status = Client.CONNECTING
        await greet(_Line(self), self.settings, timeout=GREETING_TIMEOUT)
        self._ps.reset()
        self._pongs = []
        self._pings_outstanding = 0
        self._status = Client.CONNECTED
        loop = asyncio.get_running_loop()
        self._reading_task = loop.create_task(self._read_loop())
        self._ping_interval_task = loop.create_task(self._ping_interval())
        self._flusher_task = loop.create_task(self._flusher())

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """What a server tells later, such as which other servers there are, is what it tells about itself, too."""
        self._server_info = {**self.server_info, **info}
        await super()._process_info(info, initial_connection)

    async def _process_err(self, err_msg: str) -> None:
        """nats-py tells of a permissions violation as of any error, in lower case."""
        if refusal := _REFUSAL.search(err_msg):
            self._on_refusal("publish" if refusal[1].casefold() == "publish" else "subscription", refusal[2])
        else:
            await super()._process_err(err_msg)

    async def _read_loop(self) -> None:
        """Takes what the socket brings before nats-py's reader gets it, as far as it is messages for callbacks."""
        transport = self._transport
        if type(transport) is TcpTransport and (reader := transport._io_reader) is not None:
            later = reader.feed_data

            def feed(data: bytes) -> None:
                rest = self._take(data) if self._idle(reader) else data
                if rest:
                    later(rest)

            reader.feed_data = feed  # type: ignore[assignment, method-assign]
        await super()._read_loop()

    def _idle(self, reader: StreamReader) -> bool:
        """Whether nats-py has nothing to read or parse that came earlier."""
        parser = self._ps
        return (
            not parser.buf
            and parser.state == AWAITING_CONTROL_LINE
            and not reader._buffer  # type: ignore[attr-defined]
            and self.is_connected
        )

    def _take(self, data: bytes) -> bytes:
        """Delivers the whole messages at the start of `data`; the rest, from the first thing that is none."""
        at = 0
        while at < len(data):
            after = self._deliver(data, at)
            if not after:
                break
            at = after
        return data[at:] if at else data

    def _deliver(self, data: bytes, at: int) -> int:
        """Hands the message at `at` to its callback and says where it ends; 0 if it is left to nats-py."""
        line = data.find(b"\r\n", at)
        words = data[at:line].split(b" ") if line > 0 else []
        with_headers = len(words) > 4 and words[0] == b"HMSG"
        if not with_headers and (len(words) not in (4, 5) or words[0] != b"MSG"):
            return 0
        try:
            sid, size = int(words[2]), int(words[-1])
            headers_size = int(words[-2]) if with_headers else 0
        except ValueError:
            return 0
        callback = self._callbacks.get(sid)
        start = line + 2
        end = start + size
        if callback is None or sid not in self._subs or end + 2 > len(data):
            return 0
        headers = None
        if with_headers:
            if not data.startswith(_HEADER_LINE, start):
                return 0
            headers = parse_headers(data[start : start + headers_size])
            start += headers_size
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += end - start
        reply = words[3].decode() if len(words) == (6 if with_headers else 5) else ""
        callback(DirectMessage(words[1].decode(), reply, data[start:end], headers))
        return end + 2

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        callback = self._callbacks.get(sid)
        if callback is None or sid not in self._subs:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        parsed = None
        if headers:
            if headers.startswith(_HEADER_LINE):
                parsed = parse_headers(headers)
            else:
                parsed = await self._process_headers(headers)
        callback(DirectMessage(subject.decode(), reply.decode(), data, parsed))


class _Line:
    """The connection of a client while it is greeted."""

    def __init__(self, client: DirectClient) -> None:
        server, transport = client._current_server, client._transport
        assert server is not None
        assert isinstance(transport, TcpTransport)
        self._client, self._server, self._transport = client, server, transport
        self.url = server.uri.geturl()
        # Servers found through another have no names: their certificates are for the one we know.
        self.certificate_name = server.tls_name or server.uri.hostname or ""

    async def read(self) -> bytes:
        line: bytes = await self._transport.readline()  # type: ignore[no-untyped-call]
        return line

    async def write(self, data: bytes) -> None:
        self._transport.write(data)  # type: ignore[no-untyped-call]
        await self._transport.drain()  # type: ignore[no-untyped-call]

    async def secure(self, context: ssl.SSLContext, name: str) -> None:
        await self._transport.connect_tls(name, context, DEFAULT_BUFFER_SIZE, GREETING_TIMEOUT)  # type: ignore[arg-type]
        # It was made for a bare connection; without this asyncio warns of every end.
        self._transport._io_writer._protocol._over_ssl = True  # type: ignore[union-attr]

    async def informed(self, info: dict[str, Any]) -> None:
        client = self._client
        client._server_info = info
        client._max_payload = info["max_payload"]
        client._client_id = info.get("client_id")
        self._server.server_version = info.get("version")
        await client._process_info(info, initial_connection=True)


def parse_headers(block: bytes) -> dict[str, str] | None:
    """The fields of a header block without a status; None if there are none. Lines that are no fields are skipped."""
    fields: dict[str, str] = {}
    for line in block[len(_HEADER_LINE) :].decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon and name and " " not in name:
            fields[name] = value.strip()
    return fields or None
