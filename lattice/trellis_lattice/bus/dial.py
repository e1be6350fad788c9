"""Making a connected nats-py client: its settings, and when to give up, in one place.

Left to itself nats-py tries for ever, even with credentials the server refuses.
"""

from __future__ import annotations

import asyncio
import logging
from itertools import count
from random import random
from typing import Any, Protocol

import nats.errors
from nats.aio.client import Server

from trellis_lattice.bus.backoff import reconnect_delay
from trellis_lattice.bus.direct import DirectClient
from trellis_lattice.bus.settings import ConnectionSettings, check_settings
from trellis_lattice.bus.translation import unreachable
from trellis_lattice.errors import ConfigError, Denied, TrellisError

__all__ = ["FLUSH_TIMEOUT", "ClientOwner", "dial", "discard"]

_log = logging.getLogger("trellis.bus")

_PENDING_BYTES = 2 * 1024 * 1024
FLUSH_TIMEOUT = 5.0
_CLOSE_TIMEOUT = 2.0
_TRIES = 2
"""A refusal may be lost in a reset of the connection, so an impatient caller has two tries too."""


class ClientOwner(Protocol):
    """Who is told what happens to a client once it has been handed over. The client tells which one."""

    def client_failed(self, client: DirectClient, error: Exception) -> None: ...
    def client_lost(self, client: DirectClient) -> None: ...
    def client_returned(self, client: DirectClient) -> None: ...
    def client_closed(self, client: DirectClient) -> None: ...
    def client_refused(self, client: DirectClient, what: str, subject: str) -> None: ...


async def dial(settings: ConnectionSettings, owner: ClientOwner, *, deadline: float, patient: bool) -> DirectClient:
    """A connected client. `patient`: try until the deadline; else twice.

    Raises `Denied` and `ConfigError` at once, `Unavailable`.
    """
    check_settings(settings)
    loop = asyncio.get_running_loop()
    for attempt in count(1):
        try:
            return await _dial_once(settings, owner, deadline)
        except TrellisError as error:
            delay = reconnect_delay(attempt, random())
            if (
                isinstance(error, Denied | ConfigError)
                or loop.time() + delay >= deadline
                or not (patient or attempt < _TRIES)
            ):
                raise
        await asyncio.sleep(delay)
    raise AssertionError("unreachable")


async def _dial_once(settings: ConnectionSettings, owner: ClientOwner, deadline: float) -> DirectClient:
    """Tries every url once."""
    client = DirectClient(settings, lambda what, subject: owner.client_refused(client, what, subject))
    failures: list[Exception] = []
    failed = asyncio.Event()

    async def on_error(error: Exception) -> None:
        owner.client_failed(client, error)
        if not failed.is_set():
            failures.append(error)
            if _is_refusal(error) or len(failures) >= len(settings.urls):
                failed.set()

    async def on_lost() -> None:
        owner.client_lost(client)

    async def on_return() -> None:
        owner.client_returned(client)

    async def on_closed() -> None:
        owner.client_closed(client)

    connecting = asyncio.create_task(_connect(client, settings, on_error, on_lost, on_return, on_closed))
    giving_up = asyncio.create_task(failed.wait())
    waited = False
    try:
        left = deadline - asyncio.get_running_loop().time()
        await asyncio.wait((connecting, giving_up), timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED)
        waited = True
    finally:
        giving_up.cancel()
        # nats-py also returns, unconnected, if the server hangs up in the middle of the greeting. And we may be
        # cancelled in the very moment in which it is connected: then nobody would close it.
        if not (waited and connecting.done() and client.is_connected):
            connecting.cancel()
            await asyncio.wait((connecting,), timeout=_CLOSE_TIMEOUT)
            await discard(client)
    if client.is_connected:
        return client
    if not failures and connecting.done() and not connecting.cancelled() and (error := connecting.exception()):
        raise unreachable(settings.shown, error)
    raise unreachable(settings.shown, max(failures, key=_telling) if failures else None)


def _is_refusal(error: BaseException) -> bool:
    return isinstance(unreachable("", error), Denied | ConfigError)


def _telling(error: Exception) -> int:
    """Of the failures of several servers the one that says most of what is to be done."""
    meaning = unreachable("", error)
    return 2 if _is_refusal(error) else int(meaning.fields.get("reason") == "tls")


async def _connect(
    client: DirectClient, settings: ConnectionSettings, error: Any, lost: Any, returned: Any, closed: Any
) -> None:
    await client.connect(
        servers=list(settings.urls),
        name=settings.name,
        error_cb=error,
        disconnected_cb=lost,
        reconnected_cb=returned,
        closed_cb=closed,
        connect_timeout=2,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.1,  # type: ignore[arg-type]
        reconnect_to_server_handler=_choose_server,
        ping_interval=settings.ping_interval,  # type: ignore[arg-type]
        max_outstanding_pings=2,
        pending_size=_PENDING_BYTES,
        flush_timeout=FLUSH_TIMEOUT,
    )


def _choose_server(servers: list[Server], info: dict[str, Any]) -> tuple[Server | None, float]:
    """The server that failed least often, and how long to wait before trying it."""
    chosen = min(servers, key=lambda server: server.reconnects)
    return chosen, reconnect_delay(chosen.reconnects, random())


async def discard(client: DirectClient) -> None:
    """Sends what is pending, as far as possible, and closes."""
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT):
            await client.close()
            await asyncio.sleep(0)
    except (nats.errors.Error, OSError, TimeoutError) as error:
        _log.debug("Closing the connection to NATS: %s", error)
