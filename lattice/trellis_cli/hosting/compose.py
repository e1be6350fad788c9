"""Puts a host together: identity, listeners, reconciler; then runs it until it is time to leave."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from trellis_cli.hosting.identity import load_identity
from trellis_cli.hosting.options import DRAIN_GRACE, HostOptions
from trellis_cli.lattice import connection_settings
from trellis_cli.up.channel import SupervisorChannel
from trellis_host.host import Host
from trellis_host.settings import HostSettings
from trellis_wadm.reconciler import ReconcilerService

if TYPE_CHECKING:
    from trellis_provider_sdk import Listeners

__all__ = ["serve"]


async def serve(options: HostOptions, channel: SupervisorChannel | None, leave: asyncio.Event) -> None:
    """Runs one host. Returns when it has left: because of `leave`, or asked to through the lattice.

    Raises what keeps it from joining.
    """
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
        host.request_stop(grace=DRAIN_GRACE)
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
        nats=connection_settings(options.nats_url, f"trellis-host {identity.friendly_name}"),
        lattice=options.lattice,
        labels=options.labels,
        stop_grace=DRAIN_GRACE,
    )
    # Two processes of one host are told apart by when they started: the later one takes over what the first held.
    reconciler = ReconcilerService(options.lattice, identity.key.id, boot=time.time_ns() // 1_000_000)
    return Host(settings, listeners=_listeners(options), services=[reconciler])


def _listeners(options: HostOptions) -> Listeners | None:
    """The supervisor's, or none: then the host binds for itself."""
    if options.listeners_socket is None:
        return None
    from trellis_cli.up.listeners import ListenerClient

    return ListenerClient(options.listeners_socket)
