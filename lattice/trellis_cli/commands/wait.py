"""`trellis wait --for=CONDITION NAME`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from trellis_cli.command import Cli, command
from trellis_cli.lattice import open_lattice
from trellis_cli.output import Report

if TYPE_CHECKING:
    from trellis_cli.lattice import Lattice

__all__ = ["register"]

_TIMEOUT = 60.0
_POLL = 0.25
_APP_STATES = ("deployed", "undeployed", "failed", "reconciling", "waiting", "unhealthy")

Check = Callable[["Lattice", str], Awaitable[tuple[bool, str]]]
"""Whether it holds, and how it is now."""


async def wait(
    cli: Cli,
    name: Annotated[str, typer.Argument(metavar="NAME", help="An application, component, provider or host.")],
    condition: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="CONDITION",
            help="deployed (or another status of an application), running, or gone.",
        ),
    ] = "deployed",
) -> None:
    """Wait until something is so: an application deployed, a component, provider or host running, or gone.

    --timeout bounds the wait (default 60s); when it is over this ends with exit code 4, and says how it is by then.
    """
    from trellis_lattice.errors import DeadlineExceeded

    check = _check(condition.strip().lower().removeprefix("condition="))
    patience = cli.settings.patience(_TIMEOUT)
    now = "nobody answered"
    async with open_lattice(cli.settings, min(patience, 5.0)) as lattice:
        try:
            with cli.terminal.progress(f"Waiting until {name} is {condition}") as progress:
                async with asyncio.timeout(patience):
                    while True:
                        holds, now = await check(lattice, name)
                        if holds:
                            break
                        progress.update(f"Waiting until {name} is {condition}: {now}")
                        await asyncio.sleep(_POLL)
        except TimeoutError:
            raise DeadlineExceeded(
                f"After {patience:g} s `{name}` is not {condition}: {now}.",
                remedy=f"Look: trellis describe app {name}, or trellis get inventory.",
                name=name,
                condition=condition,
            ) from None
    cli.terminal.emit(Report({"name": name, "condition": condition, "now": now}, names=[name]))
    cli.terminal.note(f"`{name}`: {now}.")


def _check(condition: str) -> Check:
    """How a condition is found out. Raises `RequestInvalid`."""
    from trellis_lattice.errors import RequestInvalid

    if condition == "running":
        return _running
    if condition == "gone":
        return _gone
    if condition in _APP_STATES:

        async def check(lattice: Lattice, name: str) -> tuple[bool, str]:
            status, text = await _application(lattice, name)
            return status == condition, text

        return check
    raise RequestInvalid(
        f"{condition[:40]!r} is no condition.",
        remedy=f"Use running, gone, or the status of an application: {', '.join(_APP_STATES)}.",
    )


async def _application(lattice: Lattice, name: str) -> tuple[str, str]:
    """Its status; `missing` if it is not stored yet."""
    from trellis_cli.applications import Applications
    from trellis_lattice.errors import NotFound, Unavailable

    try:
        report = await Applications(lattice).status(name)
    except NotFound:
        return "missing", "it is not stored"
    except Unavailable as error:
        return "unknown", error.message.rstrip(".")
    message = f" ({report.message})" if getattr(report, "message", "") else ""
    return str(report.type), f"it is {report.type}{message}"


async def _places(lattice: Lattice, name: str) -> list[str]:
    """The hosts that run it, or itself if it is a host."""
    from trellis_lattice.errors import Conflict, NotFound, Unavailable

    inventories = await lattice.inventories()
    found = [
        host.friendly_name
        for host in inventories
        if name in {item.id for item in host.components} or name in {item.id for item in host.providers}
    ]
    if found:
        return found
    try:
        return [(await lattice.find_host(name)).friendly_name]
    except (NotFound, Conflict, Unavailable):
        return []


async def _running(lattice: Lattice, name: str) -> tuple[bool, str]:
    places = await _places(lattice, name)
    return bool(places), f"it runs on {', '.join(sorted(places))}" if places else "no host runs it"


async def _gone(lattice: Lattice, name: str) -> tuple[bool, str]:
    """Nothing of that name runs: no workload, no host, no workload of an application of that name."""
    from trellis_cli.following import workloads_of

    places = await _places(lattice, name)
    if places:
        return False, f"it runs on {', '.join(sorted(places))}"
    left = await workloads_of(lattice, name) - {name}
    return not left, f"there still runs {', '.join(sorted(left))}" if left else "it is gone"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(
        app,
        "wait",
        examples=(
            "trellis wait --for=deployed kv-counter --timeout 2m",
            "trellis wait --for=running my_app-counter",
            "trellis wait --for=gone crimson-meadow-4211",
        ),
        panel="Look",
    )(wait)
