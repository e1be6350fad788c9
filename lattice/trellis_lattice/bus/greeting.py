"""The beginning of a connection to a NATS server: its INFO, TLS, our CONNECT, its PONG.

nats-py has this, too, but goes on in the clear if a server has no TLS, takes a server that hangs up for one that
answered, finds a refusal or not as chance has it, and knows credentials of the url only. The laws of this file:
whoever returns is connected; every failure says what it means (`GreetingFailed.meaning`); our words go out at once,
because a server that refuses hangs up, and what arrives after that destroys its answer.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import Any, Protocol
from urllib.parse import urlsplit

import nats.errors

from trellis_lattice.bus.authentication import proof
from trellis_lattice.bus.settings import ConnectionSettings, TlsSettings, without_secrets
from trellis_lattice.bus.tls import client_context, no_tls_offered, tls_failure
from trellis_lattice.errors import TrellisError, Unavailable

__all__ = ["GreetingFailed", "Line", "greet"]

_MAX_LINES = 100
"""A server says little before it answers; more than this is not NATS."""


class GreetingFailed(nats.errors.Error):
    """For nats-py, which goes on trying; `meaning` is for us."""

    def __init__(self, meaning: TrellisError) -> None:
        super().__init__(meaning.message)
        self.meaning = meaning


class Line(Protocol):
    """The connection while it is greeted."""

    url: str
    """Of this server."""
    certificate_name: str
    """Whom its certificate has to name."""

    async def read(self) -> bytes:
        """One line; empty at the end."""

    async def write(self, data: bytes) -> None: ...
    async def secure(self, context: ssl.SSLContext, name: str) -> None: ...
    async def informed(self, info: dict[str, Any]) -> None:
        """The server told about itself."""


async def greet(line: Line, settings: ConnectionSettings, *, timeout: float) -> None:
    """Returns when the server has taken us. Raises `GreetingFailed`; each step takes at most `timeout` seconds."""
    try:
        await _greet(line, settings, timeout)
    except TrellisError as error:
        raise GreetingFailed(error) from error


async def _greet(line: Line, settings: ConnectionSettings, timeout: float) -> None:
    url = urlsplit(line.url)
    tls = settings.tls or (TlsSettings() if url.scheme == "tls" else None)
    where = without_secrets(line.url)
    if tls is not None and tls.first:
        await _secure(line, tls, where, timeout)
    info = await _introduction(line, where, timeout, tls)
    await line.informed(info)
    if tls is not None and not tls.first and not (info.get("tls_required") or info.get("tls_available")):
        raise no_tls_offered(where)
    if (tls is not None or info.get("tls_required")) and not (tls is not None and tls.first):
        await _secure(line, tls or TlsSettings(), where, timeout)
    words = {
        "verbose": False,
        "pedantic": False,
        "lang": "python3",
        "version": "trellis",
        "protocol": 1,
        "headers": True,
        "no_responders": True,
        "echo": True,
        "name": settings.name,
        "tls_required": tls is not None,
        **proof(settings, url, info.get("nonce")),
    }
    # A certificate that the server does not like is refused after our side of the handshake is done.
    secured = tls is not None or bool(info.get("tls_required"))
    hint = "Its log says why; it may want a TLS certificate (--tls-cert)." if secured else None
    try:
        await line.write(b"CONNECT " + json.dumps(words).encode() + b"\r\nPING\r\n")
        await _answer(line, where, timeout)
    except ssl.SSLError as error:
        raise tls_failure(where, error, first=False) from error
    except (ConnectionError, EOFError) as error:
        raise _unreachable(where, "it hung up on our greeting", hint) from error


async def _introduction(line: Line, where: str, timeout: float, tls: TlsSettings | None) -> dict[str, Any]:
    hint = "If it expects TLS first, say so with --tls-first." if tls is None or not tls.first else None
    try:
        first = await _within(timeout, line.read())
    except TimeoutError:
        raise _unreachable(where, "it said nothing", hint) from None
    except ssl.SSLError as error:
        raise tls_failure(where, error, first=tls is not None and tls.first) from error
    if not first.startswith(b"INFO "):
        if not first:
            raise _unreachable(where, "it hung up", hint)
        raise _unreachable(where, "it does not speak the protocol of NATS")
    try:
        info = json.loads(first[5:])
    except ValueError as error:
        raise _unreachable(where, "it does not speak the protocol of NATS") from error
    if not isinstance(info, dict) or not isinstance(info.get("max_payload"), int):
        raise _unreachable(where, "it does not speak the protocol of NATS")
    return info


async def _answer(line: Line, where: str, timeout: float) -> None:
    """Waits for the PONG behind our CONNECT. Raises `EOFError` if the server hangs up."""
    for _ in range(_MAX_LINES):
        try:
            said = (await _within(timeout, line.read())).strip()
        except TimeoutError:
            raise _unreachable(where, "it did not answer our greeting in time") from None
        if said == b"PONG":
            return
        if said == b"PING":
            await line.write(b"PONG\r\n")
        elif said.startswith(b"INFO "):
            await line.informed(json.loads(said[5:]))
        elif said.startswith(b"-ERR"):
            # The caller knows what refusals mean.
            raise nats.errors.Error(f"nats: {said[4:].decode(errors='replace').strip()}")
        elif not said:
            raise EOFError
    raise _unreachable(where, "it does not speak the protocol of NATS")


async def _secure(line: Line, tls: TlsSettings, where: str, timeout: float) -> None:
    context = client_context(tls)
    try:
        await _within(timeout, line.secure(context, line.certificate_name))
    except TimeoutError:
        raise _unreachable(where, "it did not finish the TLS handshake in time") from None
    except ssl.SSLError as error:
        raise tls_failure(where, error, first=tls.first) from error


async def _within(seconds: float, work: Any) -> Any:
    async with asyncio.timeout(seconds):
        return await work


def _unreachable(where: str, what: str, hint: str | None = None) -> Unavailable:
    return Unavailable(
        f"NATS cannot be reached at {where}: {what}.",
        remedy=hint or "Check that a NATS server listens there, and that its log is silent about us.",
        retry_after=1.0,
        reason="unreachable",
    )
