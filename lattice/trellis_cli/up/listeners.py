"""Listening sockets that all hosts of a machine share.

The supervisor binds an address once, plainly, so that a port in use is an error, and gives the socket to each
host that asks. A host asks over a Unix socket and keeps that connection: as long as it is open the host holds
the address, so a host that dies lets go by dying. When the last holder gives an address back its port is free
again; when the last holder dies the socket stays open for a moment, so that clients wait for the next host
instead of being refused.

Wire: the host sends one line `{"host": …, "port": …}`; the answer is one line, either `{"host", "port", "id"}`
with the socket attached (SCM_RIGHTS; all who get this very socket get the same `id`, and nobody else does), or
`{"error": …}` as an error of Trellis travels. A host that gives the address back sends a second line before it
hangs up. Port 0 is never shared.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import socket
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trellis_lattice.errors import DeadlineExceeded, RequestInvalid, TrellisError, Unavailable, from_wire
from trellis_provider_sdk.listeners import BoundListeners

__all__ = ["ListenerBroker", "ListenerClient"]

_MAX_LINE = 64 * 1024
_SOCKET = "listeners.sock"
_MAX_PATH = 100
"""Bytes that the path of a Unix socket may have, on every system."""
_LINGER = 5.0
"""Seconds that an address outlives a last holder that died: time enough to start a host again."""
_Address = tuple[str, int]


@dataclass(slots=True)
class _Shared:
    socket: socket.socket
    holders: int = 0
    closing: asyncio.TimerHandle | None = None
    id: str = field(default_factory=lambda: secrets.token_hex(16))


class ListenerBroker:
    """The supervisor's side. `async with` opens the Unix socket and closes everything at the end.

    `home` is a folder that nobody else uses: the socket is in it, so that what a killed supervisor left is replaced
    by the next one. Where its path is too long for a socket, and without a `home`, a temporary folder takes its place.
    """

    def __init__(self, linger: float = _LINGER, *, home: Path | None = None) -> None:
        self._home = home
        self._linger = linger
        self._listeners = BoundListeners()
        self._binding = asyncio.Lock()
        self._shared: dict[_Address, _Shared] = {}
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._directory: Path | None = None

    @property
    def path(self) -> Path:
        """Where the Unix socket is."""
        assert self._directory is not None
        return self._directory / _SOCKET

    @property
    def addresses(self) -> list[_Address]:
        """What is listened on."""
        return sorted(self._shared)

    async def __aenter__(self) -> ListenerBroker:
        self._directory = _folder(self._home)
        try:
            self.path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(
                self._accepted, path=str(self.path), limit=_MAX_LINE, start_serving=False
            )
            self.path.chmod(0o600)  # only this user may ask
            await self._server.start_serving()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._directory is not None
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        for address, shared in list(self._shared.items()):
            self._close(address, shared)
        self.path.unlink(missing_ok=True)
        if self._directory != self._home:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer), name="listener-holder")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            host, port = _request(await reader.readline())
            address, shared = await self._hold(host, port)
        except TrellisError as error:
            writer.write(json.dumps({"error": error.to_wire()}).encode() + b"\n")
            writer.close()
            return
        except (OSError, ValueError):
            writer.close()  # a host that went away in the middle of a sentence, or whatever that was
            return
        goodbye = b""
        try:
            _send(writer, shared)
            goodbye = await reader.readline()
        except (OSError, ValueError):
            pass  # it died: that is how it lets go
        finally:
            self._release(address, shared, given_back=bool(goodbye))
            writer.close()

    async def _hold(self, host: str, port: int) -> tuple[_Address, _Shared]:
        async with self._binding:
            shared = self._shared.get((host, port)) if port else None
            if shared is None:
                shared = _Shared(await self._listeners.open(host, port))
                port = port or int(shared.socket.getsockname()[1])
                self._shared[host, port] = shared
            shared.holders += 1
            if shared.closing is not None:
                shared.closing.cancel()
                shared.closing = None
            return (host, port), shared

    def _release(self, address: _Address, shared: _Shared, *, given_back: bool) -> None:
        shared.holders -= 1
        if shared.holders == 0 and given_back:
            self._close(address, shared)
        elif shared.holders == 0:
            loop = asyncio.get_running_loop()
            shared.closing = loop.call_later(self._linger, self._close, address, shared)

    def _close(self, address: _Address, shared: _Shared) -> None:
        if shared.closing is not None:
            shared.closing.cancel()
        if self._shared.get(address) is shared:
            del self._shared[address]
        shared.socket.close()


def _folder(home: Path | None) -> Path:
    """Where the socket goes: `home` if that is short enough, else a folder that is always the same for this `home`."""
    if home is None:
        return Path(tempfile.mkdtemp(prefix="trellis-"))  # mode 0700
    if len(os.fsencode(home / _SOCKET)) <= _MAX_PATH:
        return home
    name = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"trellis-{os.getuid()}-{name}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return folder if ours else Path(tempfile.mkdtemp(prefix="trellis-"))


def _request(line: bytes) -> _Address:
    """What a host asks for. Raises `RequestInvalid`."""
    try:
        request = json.loads(line)
        return str(request["host"]), int(request["port"])
    except (ValueError, KeyError, TypeError) as error:
        raise RequestInvalid('A listener is asked for with {"host": …, "port": …}.') from error


def _send(writer: asyncio.StreamWriter, shared: _Shared) -> None:
    """The socket and where it listens. The line fits the connection's empty buffer, so this does not block."""
    host, port = shared.socket.getsockname()[:2]
    reply = json.dumps({"host": host, "port": port, "id": shared.id}).encode() + b"\n"
    connection: socket.socket = writer.get_extra_info("socket")
    with socket.socket(fileno=os.dup(connection.fileno())) as raw:
        socket.send_fds(raw, [reply], [shared.socket.fileno()])


@dataclass(frozen=True, slots=True)
class _Held:
    """An address that this host holds: the connection that says so, and what the socket is called."""

    connection: socket.socket
    id: str


class ListenerClient:
    """A host's side, a `Listeners` of the provider SDK: asks the broker at `path`, and gives sockets back."""

    def __init__(self, path: Path, *, timeout: float = 5.0) -> None:
        self._path = path
        self._timeout = timeout
        self._held: dict[int, _Held] = {}

    async def open(self, host: str, port: int) -> socket.socket:
        """A listening socket, shared with the other hosts of this machine. Give it back with `release`.

        Raises `Conflict` (in use), `Denied`, `ConfigError` (no such address here), `Unavailable` if the supervisor
        is gone, `DeadlineExceeded`.
        """
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            async with asyncio.timeout(self._timeout):
                listener, id = await self._ask(connection, host, port)
        except TimeoutError as error:
            connection.close()
            raise DeadlineExceeded(
                f"The supervisor did not hand over {host}:{port} within {self._timeout} s."
            ) from error
        except OSError as error:
            connection.close()
            raise Unavailable(
                f"The supervisor of this host cannot be asked for {host}:{port}: {error.strerror or error}."
            ) from error
        except BaseException:
            connection.close()
            raise
        self._held[listener.fileno()] = _Held(connection, id)
        return listener

    async def release(self, listener: socket.socket) -> None:
        """Closes this host's copy and lets go of the address. Idempotent."""
        held = self._held.pop(listener.fileno(), None) if listener.fileno() >= 0 else None
        listener.close()
        if held is not None:
            _say_goodbye(held.connection)

    def shared_as(self, listener: socket.socket) -> str | None:
        """See `Listeners`."""
        return self._held[listener.fileno()].id

    async def aclose(self) -> None:
        """Lets go of everything that is still held."""
        while self._held:
            _say_goodbye(self._held.popitem()[1].connection)

    async def _ask(self, connection: socket.socket, host: str, port: int) -> tuple[socket.socket, str]:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, str(self._path))
        await loop.sock_sendall(connection, json.dumps({"host": host, "port": port}).encode() + b"\n")
        line, descriptors = b"", list[int]()
        try:
            while not line.endswith(b"\n"):
                await _readable(connection)
                data, received, _, _ = socket.recv_fds(connection, _MAX_LINE, 1)
                descriptors += received
                line += data
                if not data:
                    raise ConnectionResetError(errno.ECONNRESET, "it hung up")
            return _answer(json.loads(line), descriptors)
        except BaseException:
            for descriptor in descriptors:
                os.close(descriptor)
            raise


def _say_goodbye(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the supervisor is gone: nobody is left to be told
        connection.send(b"released\n")
    connection.close()


def _answer(reply: dict[str, Any], descriptors: list[int]) -> tuple[socket.socket, str]:
    if "error" in reply:
        raise from_wire(reply["error"])
    listener = socket.socket(fileno=descriptors.pop())
    listener.setblocking(False)
    return listener, str(reply["id"])


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(connection, _resolve, ready)
    try:
        await ready
    finally:
        with contextlib.suppress(OSError, ValueError):
            loop.remove_reader(connection)
