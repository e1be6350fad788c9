"""What a target answers, asked over the lattice: its interfaces and their types.

A request to `trellis.v1.<lattice>.describe.<target>` (queue group: the same text) with an empty payload is
answered with a JSON object `{"interfaces": {name: description}}` in the form of `wit/describe.py`; a
description that is too large for one message is answered without the interfaces that do not fit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from trellis_lattice.bus.connection import Connection, Message, Subscription
from trellis_lattice.errors import NotFound, PeerMisbehaved, Unavailable
from trellis_lattice.invocation.subjects import describe
from trellis_lattice.invocation.tasks import Tasks
from trellis_lattice.wit.describe import describe_interface, parse_interface
from trellis_lattice.wit.types import InterfaceType

__all__ = ["ask_description", "serve_description"]

_MAX_BYTES = 768 * 1024


async def serve_description(
    connection: Connection, lattice: str, target: str, interfaces: Mapping[str, InterfaceType], tasks: Tasks
) -> Subscription:
    """Answers for one target; end it with `unsubscribe`."""
    payload = _encode(interfaces)

    def on_message(message: Message) -> None:
        if message.reply:
            tasks.spawn(connection.publish(message.reply, payload))

    subject = describe(lattice, target)
    return await connection.subscribe(subject, on_message, queue=subject)


async def ask_description(
    connection: Connection, lattice: str, target: str, *, deadline: float
) -> Mapping[str, InterfaceType]:
    """What a target answers: full interface name → type. `deadline` is loop time.

    Raises `NotFound` if nothing with that id runs, `Unavailable`, `DeadlineExceeded`, `PeerMisbehaved`.
    """
    try:
        answer = await connection.request(describe(lattice, target), deadline=deadline)
    except Unavailable as error:
        if not connection.connected:
            raise
        raise NotFound(
            f"No component or provider {target!r} runs on lattice {lattice!r}.",
            remedy="List what runs: trellis get components, trellis get providers.",
            target=target,
        ) from error
    try:
        wire = json.loads(answer.data)
        return {str(name): parse_interface(each) for name, each in wire["interfaces"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise PeerMisbehaved(f"The description of {target!r} cannot be read.", target=target) from None


def _encode(interfaces: Mapping[str, InterfaceType]) -> bytes:
    described: dict[str, object] = {}
    size = 0
    for name, interface in interfaces.items():
        form = describe_interface(interface)
        size += len(json.dumps(form)) + len(name) + 8
        if size > _MAX_BYTES:
            break
        described[name] = form
    return json.dumps({"interfaces": described}).encode()
