"""Puts a host together: identity, listeners, reconciler; then runs it until it is time to leave.

A host that nobody supervises waits for its NATS server to come up, since both may start with the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from typing import TYPE_CHECKING

from trellis_cli.hosting.identity import load_identity
from trellis_cli.hosting.options import HostOptions
from trellis_cli.up.channel import SupervisorChannel
from trellis_host.host import Host
from trellis_host.settings import HostSettings
from trellis_lattice.errors import Unavailable
from trellis_lattice.subjects import CONTROL_PREFIX
from trellis_wadm.reconciler import ReconcilerService

if TYPE_CHECKING:
    from trellis_provider_sdk import Listeners

__all__ = ["serve"]

_log = logging.getLogger("trellis.host")

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 5.0
"""Seconds between two attempts to reach NATS."""


async def serve(options: HostOptions, channel: SupervisorChannel | None, leave: asyncio.Event) -> None:
    """Runs one host. Returns when it has left: because of `leave`, or asked to through the lattice.

    Raises what keeps it from joining. Without a supervisor it tries again for as long as NATS cannot be reached.
    """
    pause = _FIRST_PAUSE
    while not leave.is_set():
        try:
            return await _serve(options, channel, leave)
        except Unavailable as error:
            if channel is not None or error.fields.get("reason") != "unreachable":
                raise
            _log.warning("%s Trying again in %g s", error.message, pause)
            await _pass(leave, pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


async def _pass(leave: asyncio.Event, seconds: float) -> None:
    """Waits, unless it is time to leave."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await leave.wait()


async def _serve(options: HostOptions, channel: SupervisorChannel | None, leave: asyncio.Event) -> None:
    host = _host(options)
    running = asyncio.create_task(host.run(), name="host")
    ready = asyncio.create_task(host.ready.wait(), name="ready")
    leaving = asyncio.create_task(leave.wait(), name="leaving")
    try:
        await asyncio.wait([running, ready, leaving], return_when=asyncio.FIRST_COMPLETED)
        if host.ready.is_set() and not running.done() and channel is not None:
            channel.tell("ready", host_id=host.settings.key.id, friendly_name=host.settings.friendly_name)
        await asyncio.wait([running, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not host.ready.is_set():
            running.cancel()
        host.request_stop(grace=options.drain_grace)
        await asyncio.wait([running])
    finally:
        for task in (running, ready, leaving):
            task.cancel()
    if not running.cancelled():
        running.result()


def _host(options: HostOptions) -> Host:
    identity = load_identity(options.data_dir, options.seed)
    settings = HostSettings(
        key=identity.key,
        friendly_name=identity.friendly_name,
        cache_dir=options.cache_dir,
        nats=options.target.connection(f"trellis-host {identity.friendly_name}"),
        lattice=options.target.place.lattice,
        control_prefix=options.target.control_prefix or CONTROL_PREFIX,
        labels=options.labels,
        images=options.sources.images(os.environ),
        policy=options.sources.policy(),
        config_service=options.sources.config_service,
        stop_grace=options.drain_grace,
    )
    if not options.scheduler:
        return Host(settings, listeners=_listeners(options))
    # Two processes of one host are told apart by when they started: the later one takes over what the first held.
    reconciler = ReconcilerService(options.target.place.lattice, identity.key.id, boot=time.time_ns() // 1_000_000)
    return Host(settings, listeners=_listeners(options), services=[reconciler])


def _listeners(options: HostOptions) -> Listeners | None:
    """The supervisor's, or none: then the host binds for itself."""
    if options.listeners_socket is None:
        return None
    from trellis_cli.up.listeners import ListenerClient

    return ListenerClient(options.listeners_socket)
