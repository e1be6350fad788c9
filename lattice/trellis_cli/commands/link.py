"""`trellis link put|del|query`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trellis_cli.command import Cli, command
from trellis_cli.commands.start import Force
from trellis_cli.exits import ExitCode
from trellis_cli.lattice import open_lattice
from trellis_cli.output import Report

if TYPE_CHECKING:
    from trellis_cli.lattice import Lattice
    from trellis_cli.links import LinkStatus
    from trellis_lattice.links import Link

__all__ = ["IgnoreMissing", "register"]

_ACTIVE_TIMEOUT = 10.0
_POLL = 0.15

LinkName = Annotated[str, typer.Option("-l", "--link-name", metavar="NAME", help="Name of the link.")]
NoWait = Annotated[bool, typer.Option("--no-wait", "--skip-wait", metavar="", help="Return once it is stored.")]
IgnoreMissing = Annotated[bool, typer.Option("--ignore-missing", metavar="", help="It is fine if there is none.")]


async def put(
    cli: Cli,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Component or provider that calls.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Component or provider that answers.")],
    namespace: Annotated[str, typer.Argument(metavar="NAMESPACE", help="WIT namespace, e.g. wasi.")],
    package: Annotated[str, typer.Argument(metavar="PACKAGE", help="WIT package, e.g. keyvalue.")],
    interface: Annotated[
        list[str], typer.Option("--interface", metavar="NAME", help="Interface, e.g. store; may be repeated.")
    ],
    link_name: LinkName = "default",
    source_config: Annotated[
        list[str] | None,
        typer.Option("--source-config", metavar="NAME", help="Named configuration for the source; may be repeated."),
    ] = None,
    target_config: Annotated[
        list[str] | None,
        typer.Option("--target-config", metavar="NAME", help="Named configuration for the target; may be repeated."),
    ] = None,
    no_wait: NoWait = False,
    force: Force = False,
) -> ExitCode:
    """Link a component or provider to what answers its calls, and wait until the link is in force.

    A link whose source or target does not run yet is stored, and comes in force when it does. A provider that
    refuses the link ends this with its reason and exit code 1; the link stays stored, and comes in force once the
    reason is gone.
    """
    new = _link(
        {
            "source_id": source,
            "target": target,
            "name": link_name,
            "wit_namespace": namespace,
            "wit_package": package,
            "interfaces": [part for text in interface for part in text.split(",") if part],
            "source_config": source_config or [],
            "target_config": target_config or [],
        }
    )
    async with open_lattice(cli.settings) as lattice:
        if not force:
            await _refuse_managed(lattice, [new], "changed")
        await _put(lattice, new)
        status = None if no_wait else await _settled(cli, lattice, new)
    return _told_put(cli, new, status)


async def _put(lattice: Lattice, link: Link) -> None:
    """Stores the link; to v1's refusals it adds what is in the way, and what to do."""
    from trellis_lattice.errors import ConfigError, Conflict, RequestInvalid

    try:
        await lattice.client.put_link(link, timeout=lattice.timeout)
    except Conflict as error:
        there = error.fields.get("existing")
        if not isinstance(there, str):
            raise
        raise Conflict(
            f"{link.source_id} is linked to {there} already, under the name {link.name}.",
            remedy=f"Delete that link: {_del_command(link)}. Or give this one another name with --link-name.",
            **error.fields,
        ) from None
    except (ConfigError, RequestInvalid) as error:
        stored = await lattice.configs()
        missing = [name for name in (*link.source_config, *link.target_config) if name not in stored]
        if not missing or error.remedy:
            raise
        raise ConfigError(
            f"There is no configuration `{missing[0]}`.",
            remedy=f"Store it first: trellis config put {missing[0]} KEY=VALUE",
            key=missing[0],
        ) from None


def _del_command(link: Link) -> str:
    name = "" if link.name == "default" else f" -l {link.name}"
    return f"trellis link del {link.source_id} {link.wit_namespace} {link.wit_package}{name}"


async def _settled(cli: Cli, lattice: Lattice, link: Link) -> LinkStatus:
    """How the link is once all providers at its ends have said what they make of it."""
    from trellis_cli.links import LinkState, LinkStatus, link_status

    status = LinkStatus(LinkState.PENDING, "no host has read it yet")
    try:
        with cli.terminal.progress(f"Linking {link.source_id} to {link.target}"):
            async with asyncio.timeout(cli.settings.patience(_ACTIVE_TIMEOUT)):
                while True:
                    if link in await lattice.links():
                        status = link_status(link, await lattice.inventories())
                        if status.state is not LinkState.PENDING:
                            return status
                    await asyncio.sleep(_POLL)
    except TimeoutError:
        return status


def _told_put(cli: Cli, link: Link, status: LinkStatus | None) -> ExitCode:
    from trellis_cli.links import LinkState

    name = f"{link.source_id} → {link.target} ({', '.join(link.interface_names)})"
    data: dict[str, Any] = link.model_dump(mode="json")
    data |= {"state": str(status.state) if status else None, "reason": status.reason or None if status else None}
    code = ExitCode.OK
    if status is None:
        cli.terminal.note(f"Stored the link {name}.")
    elif status.state is LinkState.ACTIVE:
        cli.terminal.note(f"Linked {name}.")
    elif status.state is LinkState.WAITING:
        cli.terminal.note(f"Stored the link {name}. It waits: {status.reason}.")
    elif status.state is LinkState.REFUSED:
        code = ExitCode.FAILED
        data |= {"error": f"The link {name} is refused by {status.reason}", "code": "conflict"}
        cli.terminal.note_failure(
            f"The link {name} is refused by {status.reason}",
            f"It stays stored. Take it away: {_del_command(link)}",
        )
    else:
        code = ExitCode.TIMED_OUT
        cli.terminal.note(f"Stored the link {name}, but it is not in force yet: {status.reason}.")
    cli.terminal.emit(Report(data, names=[link.source_id]), success=code is ExitCode.OK)
    return code


async def delete(
    cli: Cli,
    source: Annotated[str | None, typer.Argument(metavar="SOURCE", help="Component or provider that calls.")] = None,
    namespace: Annotated[str | None, typer.Argument(metavar="NAMESPACE", help="WIT namespace.")] = None,
    package: Annotated[str | None, typer.Argument(metavar="PACKAGE", help="WIT package.")] = None,
    link_name: Annotated[
        str | None, typer.Option("-l", "--link-name", metavar="NAME", help="Name of the link; default: default.")
    ] = None,
    all: Annotated[
        bool, typer.Option("--all", metavar="", help="Every link that fits; what is not given fits everything.")
    ] = False,
    force: Force = False,
    ignore_missing: IgnoreMissing = False,
) -> None:
    """Take a link away. A link that does not exist is an error, unless --ignore-missing."""
    from trellis_lattice.errors import Conflict, NotFound, RequestInvalid

    if not all and (source is None or namespace is None or package is None):
        raise RequestInvalid(
            "Which link? Give SOURCE, NAMESPACE and PACKAGE, or --all.", remedy="trellis get links lists them."
        )
    name = link_name if all else link_name or "default"
    async with open_lattice(cli.settings) as lattice:
        links = await lattice.links()
        found = [
            link
            for link in links
            if source in (None, link.source_id)
            and namespace in (None, link.wit_namespace)
            and package in (None, link.wit_package)
            and name in (None, link.name)
        ]
        if not found and not ignore_missing:
            raise NotFound(_no_such_link(source, namespace, package, name), remedy=_others(links, source))
        if len(found) > 1 and not all:
            targets = ", ".join(sorted(link.target for link in found))
            raise Conflict(
                f"{source} has {len(found)} links named {name} for {namespace}:{package}, to {targets}.",
                remedy="Take all of them away with --all.",
            )
        if not force:
            await _refuse_managed(lattice, found, "deleted")
            _confirm(cli, found, wide=all and source is None)
        for link in found:
            await lattice.client.delete_link(link.id, timeout=lattice.timeout)
        await _gone(lattice, found, lattice.timeout)
    _told_delete(cli, found, single=not all, source=source, namespace=namespace, package=package, name=name)


async def _gone(lattice: Lattice, links: Sequence[Link], timeout: float) -> None:
    """Waits until no host knows the links any more. Raises `DeadlineExceeded`."""
    from trellis_lattice.errors import DeadlineExceeded

    keys = {link.key for link in links}
    try:
        async with asyncio.timeout(timeout):
            while True:
                if not keys & {link.key for link in await lattice.links()}:
                    return
                await asyncio.sleep(_POLL)
    except TimeoutError:
        raise DeadlineExceeded(
            f"The links are still there after {timeout:g} s.", remedy="Somebody may put them again: trellis get links"
        ) from None


def _told_delete(
    cli: Cli,
    found: Sequence[Link],
    *,
    single: bool,
    source: str | None,
    namespace: str | None,
    package: str | None,
    name: str | None,
) -> None:
    data: dict[str, Any] = {"deleted": [link.model_dump(mode="json") for link in found]}
    if single:
        data = {"source_id": source, "wit_namespace": namespace, "wit_package": package, "link_name": name, **data}
    cli.terminal.emit(Report(data, names=[link.source_id for link in found]))
    for link in found:
        cli.terminal.note(f"Deleted the link {link.source_id} → {link.target} ({', '.join(link.interface_names)}).")
    if not found:
        cli.terminal.note("There was no such link.")


def _no_such_link(source: str | None, namespace: str | None, package: str | None, name: str | None) -> str:
    about = f" for {namespace or '*'}:{package or '*'}" if namespace or package else ""
    return f"{source or 'Nothing'} has no link{f' named {name}' if name else ''}{about}."


def _others(links: Sequence[Link], source: str | None) -> str:
    """The links that were perhaps meant."""
    mine = [link for link in links if link.source_id == source]
    if not mine:
        return "trellis get links lists what there is."
    named = [f"{link.wit_namespace}:{link.wit_package} → {link.target} ({link.name})" for link in mine[:8]]
    return f"It has: {', '.join(named)}."


def _confirm(cli: Cli, found: Sequence[Link], *, wide: bool) -> None:
    """Asks a person before every link of a lattice is deleted."""
    import sys

    if wide and found and cli.terminal.interactive and sys.stdin.isatty():
        typer.confirm(f"Delete all {len(found)} links of the lattice?", abort=True, err=True)


async def _refuse_managed(lattice: Lattice, links: Sequence[Link], verb: str) -> None:
    """Raises `Conflict` if an application brought one of the links."""
    from trellis_cli.managed import application_of, read_ledger, refusal

    owned = {(key[0], key[2], key[3], key[4]) for key in (await read_ledger(lattice)).owned.links}
    for link in links:
        if (link.source_id, link.wit_namespace, link.wit_package, link.name) in owned:
            app = application_of(link.source_id, await lattice.inventories())
            what = f"The link {link.source_id} → {link.target} ({link.wit_namespace}:{link.wit_package}, {link.name})"
            raise refusal(what, app, verb)


def _link(data: dict[str, Any]) -> Link:
    """The link that was asked for. Raises `RequestInvalid` naming what is wrong."""
    import json

    from trellis_lattice.links import Link, check_link

    return check_link(Link.from_json(json.dumps(data)))


async def query(
    cli: Cli,
    of: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Only those from or to this component or provider.")
    ] = None,
) -> None:
    """List the links, how each is, and which way its calls went. The same as `trellis get links`."""
    from trellis_cli.commands.get import show_links

    await show_links(cli, of)


def register(group: typer.Typer) -> None:
    """Adds the commands."""
    command(
        group,
        "put",
        examples=(
            "trellis link put counter kv wasi keyvalue --interface store --interface atomics",
            "trellis link put web hello wasi http --interface incoming-handler --source-config web-address",
        ),
    )(put)
    command(
        group,
        "del",
        aliases=("delete",),
        examples=("trellis link del counter wasi keyvalue", "trellis link del counter --all --ignore-missing"),
    )(delete)
    command(
        group,
        "query",
        aliases=("list", "ls"),
        examples=("trellis link query", "trellis link query counter -o json"),
    )(query)
