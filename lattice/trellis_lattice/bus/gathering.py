"""One question, many answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from trellis_lattice.bus.subscription import Message
from trellis_lattice.bus.translation import disconnected

if TYPE_CHECKING:
    from trellis_lattice.bus.connection import Connection

__all__ = ["gather"]


async def gather(
    connection: Connection,
    subject: str,
    payload: bytes,
    *,
    deadline: float,
    enough: Callable[[Sequence[Message]], bool],
    quiet: float | None,
    limit: int,
) -> list[Message]:
    """As `Connection.gather`."""
    loop = asyncio.get_running_loop()
    answers: list[Message] = []
    done: asyncio.Future[None] = loop.create_future()
    last = loop.time()

    def collect(message: Message) -> None:
        nonlocal last
        last = loop.time()
        nobody = not message.data and message.headers is not None and message.headers.get("Status") == "503"
        if not nobody and not done.done():
            answers.append(message)
        if not done.done() and (nobody or len(answers) >= limit or enough(answers)):
            done.set_result(None)

    stop_listening = connection.listen(lambda up: None if up or done.done() else done.set_result(None))
    inbox = connection.inbox(collect)
    try:
        await connection.publish(subject, payload, reply=inbox.subject)
        while not done.done():
            end = deadline if quiet is None or not answers else min(deadline, last + quiet)
            left = end - loop.time()
            if left <= 0:
                break
            await asyncio.wait((done,), timeout=left if quiet is None else min(left, quiet))
    finally:
        done.cancel()
        inbox.close()
        stop_listening()
    if not answers and not connection.connected:
        raise disconnected(connection.settings.shown, maybe_executed=True)
    return answers
