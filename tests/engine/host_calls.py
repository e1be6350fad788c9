"""The host side of components/host-calls.wat."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from trellis_host.engine import Engine, HostInterface, HostResource, LinkedComponent, waiting

from .conftest import read_component
from .support import interface, linked


@dataclass
class Thing:
    number: int


@dataclass
class Context:
    """What the host functions saw. `wait` answers when `gate` is set (at once without one)."""

    gate: asyncio.Event | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    dropped: list[Thing] = field(default_factory=list)
    seen: list[Any] = field(default_factory=list)
    cancelled: int = 0


async def wait(context: Context, ms: int) -> int:
    context.entered.set()
    try:
        if context.gate is not None:
            await context.gate.wait()
        else:
            await asyncio.sleep(0)
    except asyncio.CancelledError:
        context.cancelled += 1
        raise
    return ms + 1


async def make_later(context: Context, n: int) -> Thing:
    await asyncio.sleep(0)
    return Thing(n)


async def look_later(context: Context, thing: Thing) -> int:
    context.seen.append(thing)
    await asyncio.sleep(0)
    return thing.number


class HostSaysNo(Exception):
    pass


def boom(context: Context) -> None:
    raise HostSaysNo("no")


def look(context: Context, thing: Thing) -> int:
    context.seen.append(thing)
    return thing.number


def calls(**replaced: Any) -> HostInterface:
    thing = HostResource("thing", drop=lambda context, it: context.dropped.append(it))
    functions = {
        "wait": waiting(wait),
        "now": waiting(lambda context, ms: ms + 1),
        "boom": boom,
        "make": lambda context, n: Thing(n),
        "make-later": waiting(make_later),
        "look": look,
        "look-later": waiting(look_later),
        "take": lambda context, it: it.number * 100,
    }
    functions.update({name.replace("_", "-"): function for name, function in replaced.items()})
    return interface("test:host/calls@0.1.3", functions, {"thing": thing})


async def host_calls(engine: Engine, **replaced: Any) -> LinkedComponent:
    return await linked(engine, read_component("host-calls"), calls(**replaced))
