"""What is done to components and providers by hand: where to, where they run, which image is meant. Mostly pure.

The law of this file: hosts, ids and images are checked here, before anything is sent, so that a command line that
cannot work fails at once and says why.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from trellis_lattice.errors import DeadlineExceeded, NotFound, RequestInvalid, TrellisError
from trellis_lattice.subjects import check_id

if TYPE_CHECKING:
    from trellis_cli.lattice import Lattice
    from trellis_lattice.control.host import ComponentDescription, HostInfo, HostInventory, ProviderDescription

__all__ = [
    "check_workload_id",
    "choose",
    "component_on",
    "host_name",
    "image_ref",
    "listed",
    "no_bid",
    "runs_on",
    "where",
]


def image_ref(text: str) -> str:
    """The image that an argument means: a path of a file here as `file://` URL, all else as it is.

    Raises `RequestInvalid` or `NotFound` for what is plainly a path, but of no file.
    """
    text = text.strip()
    if not text:
        raise RequestInvalid("The image is empty.", remedy="Name a file, or an image such as ghcr.io/org/name:1.")
    local = text.removeprefix("file://")
    is_path = text.startswith(("./", "../", "/", "~", "file://"))
    path = Path(local).expanduser()
    if path.is_dir() and is_path:
        raise RequestInvalid(f"{text} is a folder.", remedy="Name the .wasm file in it.")
    if path.is_file():
        return "file://" + quote(os.path.normpath(path.absolute()))
    if is_path and not text.startswith(("/", "file:///")):
        raise NotFound(f"There is no file {text}.", remedy="Build the component first, or correct the path.")
    head, slash, _ = text.partition("/")
    plain = text.endswith(".wasm") and ":" not in text and not text.startswith("/")
    if plain and (not slash or "." not in head):  # else it may begin with the name of a registry
        raise NotFound(f"There is no file {text}.", remedy="Build the component first, or correct the path.")
    return "file://" + quote(text) if text.startswith("/") else text


def check_workload_id(kind: str, id: str) -> str:
    """The id, if a component or provider may be called so. Raises `RequestInvalid`."""
    return check_id(id.strip(), f"{kind} id")


def runs_on(
    kind: str, id: str, inventories: Iterable[HostInventory]
) -> list[tuple[HostInventory, ComponentDescription | ProviderDescription]]:
    """The hosts that run it, with what they say of it, by name."""
    found: list[tuple[HostInventory, ComponentDescription | ProviderDescription]] = []
    for host in inventories:
        items: Sequence[ComponentDescription | ProviderDescription]
        items = host.components if kind == "component" else host.providers
        found += [(host, item) for item in items if item.id == id]
    return sorted(found, key=lambda pair: (pair[0].friendly_name, pair[0].host_id))


def component_on(host_id: str, id: str, inventories: Iterable[HostInventory]) -> ComponentDescription | None:
    """What a host says of a component that it runs."""
    return next(
        (item for host in inventories if host.host_id == host_id for item in host.components if item.id == id), None
    )


async def where(
    lattice: Lattice, kind: str, id: str, host: str | None
) -> list[tuple[HostInventory, ComponentDescription | ProviderDescription]]:
    """The hosts that run a workload, or the one named. Raises `NotFound` saying where it does run."""
    inventories = await lattice.inventories()
    found = runs_on(kind, id, inventories)
    if host is not None:
        wanted = await lattice.find_host(host)
        here = [pair for pair in found if pair[0].host_id == wanted.id]
        if found and not here:
            raise NotFound(
                f"Host {host_name(wanted)} does not run {kind} `{id}`.",
                remedy=f"It runs on: {listed(pair[0].friendly_name for pair in found)}.",
            )
        found = here
    if not found:
        items = [item for each in inventories for item in (each.components if kind == "component" else each.providers)]
        there = listed({item.id for item in items})
        raise NotFound(
            f"No host of lattice `{lattice.name}` runs a {kind} `{id}`.",
            remedy=f"Running: {there}." if there else f"No {kind} runs at all.",
        )
    return found


def choose(bids: Iterable[str], inventories: Iterable[HostInventory]) -> str:
    """The bidder with the least work; which one does not depend on the order of the bids."""
    load = {host.host_id: len(host.components) + len(host.providers) for host in inventories}
    return min(set(bids), key=lambda id: (load.get(id, 0), id))


def no_bid(kind: str, id: str, inventories: Sequence[HostInventory], constraints: dict[str, str]) -> NotFound:
    """Why no host would take it."""
    running = [host.friendly_name for host, _ in runs_on(kind, id, inventories)]
    wanted = ", ".join(f"{key}={value}" for key, value in sorted(constraints.items()))
    matching = [h for h in inventories if all(h.labels.get(key) == value for key, value in constraints.items())]
    if wanted and not matching:
        return NotFound(
            f"No host has the labels {wanted}.", remedy="`trellis get hosts -o wide` lists the labels of every host."
        )
    if running:
        where = "every host" if len(running) == len(inventories) else "every host that could take it"
        return NotFound(
            f"{kind.capitalize()} `{id}` already runs on {where}: {listed(running)}.",
            remedy=f"Change how many: trellis scale component HOST REF {id}"
            if kind == "component"
            else f"Stop it first: trellis stop provider {id}",
        )
    return NotFound(
        f"No host offered to run {kind} `{id}`.",
        remedy="They may be leaving; `trellis get hosts` lists them. Or name one with --host.",
    )


def host_name(host: HostInfo | HostInventory) -> str:
    """How a host is called in a sentence."""
    return host.friendly_name or (host.id if hasattr(host, "id") else host.host_id)


@contextmanager
def on_host(name: str) -> Iterator[None]:
    """Says of an error that happens inside on which host it happened."""
    try:
        yield
    except DeadlineExceeded:
        raise  # says so already
    except TrellisError as error:
        error.message = f"On host {name}: {error.message}"
        raise


def listed(names: Iterable[str], most: int = 8) -> str:
    """`a, b, c and 4 more`"""
    ordered = sorted(names)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + more
