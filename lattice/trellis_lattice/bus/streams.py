"""Streams that outlive a server: made with as many copies as the cluster has room for, three at most.

A client cannot ask how many servers keep JetStream data, so it asks for three copies, then two, then one, and takes
what it gets. A stream that we made says so in its metadata: whoever opens it while it has fewer than three copies
asks for more, because it may have been made while servers were away, or before there were others. A stream that
others made is used as it is; `trellis doctor --fix` raises it (docs/adr/0008-nats-connections.md).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from trellis_lattice.bus.jetstream import JetStream
from trellis_lattice.errors import NotFound, RequestInvalid, TrellisError, Unavailable

__all__ = ["MOST_REPLICAS", "has_all_replicas", "is_clustered", "open_stream", "raise_replicas", "replicas"]

_log = logging.getLogger("trellis.bus")

MOST_REPLICAS = 3
"""More than three only costs; NATS advises the same."""
_OURS = {"trellis.dev/replicas": "auto"}
_NAME_IN_USE = 10058
_TOO_FEW_SERVERS = (10005, 10074)
"""No suitable peers for placement; replicas need a cluster."""
_RAISE_TIMEOUT = 2.0


async def open_stream(
    jetstream: JetStream, config: Mapping[str, Any], *, deadline: float, create: bool = True
) -> tuple[dict[str, Any], bool]:
    """What JetStream says of the stream that `config` names, and whether it was made just now.

    `config` as in the API, without `num_replicas`. Raises `NotFound` without `create`.
    """
    name = config["name"]
    try:
        info = await jetstream.call(f"STREAM.INFO.{name}", deadline=deadline)
    except NotFound:
        if not create:
            raise
    else:
        if create and _is_ours(info) and not has_all_replicas(info):
            await _try_to_raise(jetstream, info, deadline)
        return info, False
    for number in range(MOST_REPLICAS, 0, -1):
        try:
            body = {**config, "num_replicas": number, "metadata": {**config.get("metadata", {}), **_OURS}}
            return await jetstream.call(f"STREAM.CREATE.{name}", body, deadline=deadline), True
        except (RequestInvalid, Unavailable) as error:
            code = error.fields.get("err_code")
            if code == _NAME_IN_USE:
                break
            if code not in _TOO_FEW_SERVERS or number == 1:
                raise
    # Somebody else made it meanwhile.
    return await jetstream.call(f"STREAM.INFO.{name}", deadline=deadline), False


def replicas(info: Mapping[str, Any]) -> int:
    """How many copies the stream is to have."""
    config = info.get("config")
    number = config.get("num_replicas") if isinstance(config, Mapping) else None
    return number if isinstance(number, int) else 1


def has_all_replicas(info: Mapping[str, Any]) -> bool:
    """Whether the stream has as many copies as it ever gets. A server without a cluster keeps one."""
    return replicas(info) >= MOST_REPLICAS or not is_clustered(info)


def is_clustered(info: Mapping[str, Any]) -> bool:
    """Whether the stream is in a cluster, which has a name; a single server names itself as the leader only."""
    cluster = info.get("cluster")
    return isinstance(cluster, Mapping) and bool(cluster.get("name"))


def _is_ours(info: Mapping[str, Any]) -> bool:
    metadata = info["config"].get("metadata")
    return isinstance(metadata, Mapping) and _OURS.items() <= metadata.items()


async def _try_to_raise(jetstream: JetStream, info: Mapping[str, Any], deadline: float) -> None:
    """Opening never fails because of this: the stream works as it is."""
    soon = min(deadline, asyncio.get_running_loop().time() + _RAISE_TIMEOUT)
    try:
        number = await raise_replicas(jetstream, info, deadline=soon)
    except TrellisError as error:
        _log.debug("%s keeps its %d copies: %s", info["config"]["name"], replicas(info), error)
    else:
        if number > replicas(info):
            _log.info("%s is now kept on %d NATS servers", info["config"]["name"], number)


async def raise_replicas(jetstream: JetStream, info: Mapping[str, Any], *, deadline: float) -> int:
    """Gives the stream as many copies as the cluster has room for; answers how many. Raises as `JetStream.call`."""
    config, now = dict(info["config"]), replicas(info)
    for number in range(MOST_REPLICAS, now, -1):
        try:
            await jetstream.call(
                f"STREAM.UPDATE.{config['name']}", {**config, "num_replicas": number}, deadline=deadline
            )
        except (RequestInvalid, Unavailable) as error:
            if error.fields.get("err_code") not in _TOO_FEW_SERVERS:
                raise
        else:
            return number
    return now
