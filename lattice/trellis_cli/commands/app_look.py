"""`trellis app plan|diff|why|history|rollback`: what would be, what is different, why, and back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trellis_cli.command import Cli, command
from trellis_cli.exits import ExitCode
from trellis_cli.output import Format, Listing, Report
from trellis_cli.watching import Watch
from trellis_lattice.errors import RequestInvalid

if TYPE_CHECKING:
    from trellis_cli.lattice import Lattice
    from trellis_cli.manifests import Source
    from trellis_wadm.observe import Sight
    from trellis_wadm.preview import Intent, Preview

__all__ = ["plan", "plan_undeploy", "register_after", "register_before"]

What = Annotated[str, typer.Argument(metavar="NAME|FILE", help="A stored application, or a manifest: file, - or URL.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The application.")]


async def plan(
    cli: Cli,
    what: What,
    version: Annotated[str | None, typer.Argument(metavar="[VERSION]", help="Which; default: the newest.")] = None,
    file: Annotated[str | None, typer.Option("-f", "--file", hidden=True)] = None,
    undeploy: Annotated[bool, typer.Option("--undeploy", metavar="", help="What undeploying it would do.")] = False,
    replace: Annotated[bool, typer.Option("--replace", metavar="", help="As with app deploy --replace.")] = False,
) -> ExitCode:
    """Show what deploying would do: every command in order, with its host and reason. Nothing is changed.

    It says what conflicts, which ports clash, what cannot be placed and why, and what other applications notice. Exit
    code 0 if nothing would change, 8 if something would, 1 if it is invalid, refused or cannot be placed.
    """
    from trellis_cli.manifests import sound_manifests

    source = await _source(what, force=file is not None)
    if source is not None:
        if version is not None:
            raise RequestInvalid("A version can only be chosen for a stored application, by its name.")
        if not undeploy:
            sound_manifests(source)  # what is wrong with it is said without a lattice, too

    def wanted(sight: Sight) -> list[Intent]:
        return _intents(what, source, version, sight, undeploy=undeploy, replace=replace)

    return await _plan(cli, wanted, starts=not undeploy)


async def plan_undeploy(cli: Cli, names: Sequence[str]) -> ExitCode:
    """As `plan`, for undeploying these in this order."""
    from trellis_wadm.preview import Intent

    return await _plan(cli, lambda sight: [Intent(name, None) for name in names], starts=False)


async def _plan(cli: Cli, wanted: Callable[[Sight], list[Intent]], *, starts: bool) -> ExitCode:
    """`starts`: something may be placed, which depends on how loaded the hosts are."""
    from trellis_cli.explaining import look, plan_intents
    from trellis_cli.lattice import open_lattice

    async with open_lattice(cli.settings) as lattice:
        sight = await look(lattice, cli.settings.patience(), loads=starts)
        found = plan_intents(sight, wanted(sight))
        await _warn(cli, lattice, found)
    code = ExitCode.FAILED if not found.possible else ExitCode.CHANGES if found.changes else ExitCode.OK
    cli.terminal.emit(_plan_document(cli, found, sight), success=found.possible)
    return code


def _intents(
    what: str, source: Source | None, version: str | None, sight: Sight, *, undeploy: bool, replace: bool
) -> list[Intent]:
    from trellis_cli.explaining import intents_from, stored_intent

    if source is None:
        return [stored_intent(what, version, sight, undeploy=undeploy)]
    return intents_from(source, sight, undeploy=undeploy, replace=replace)


def _plan_document(cli: Cli, found: Preview, sight: Sight) -> Report | Listing:
    """A line for each command with `-o jsonl`, else one document."""
    from trellis_cli.output.plan import plan_data, plan_lines, plan_text

    hosts = sight.host_names
    names = [transition.name for transition in found.transitions]
    if cli.terminal.format is Format.JSONL:
        return Listing("commands", (), (), plan_lines(found, hosts), names)
    text = plan_text(found, hosts, cli.terminal.out_style) if cli.terminal.format.for_people else ""
    return Report(plan_data(found, hosts), text=text, names=names)


async def _warn(cli: Cli, lattice: Lattice, found: Preview) -> None:
    """A plan without a scheduler is one that nobody will carry out."""
    from trellis_cli.explaining import missing_scheduler

    missing = await missing_scheduler(lattice, found.transitions[0].name) if found.transitions else None
    if missing is not None:
        cli.terminal.note(f"warning: {missing.message} Nothing of this happens before one runs. {missing.remedy}")


async def _source(what: str, *, force: bool = False) -> Source | None:
    """The manifest that an argument names; None if it is the name of an application."""
    from trellis_cli.manifests import is_source, read_source

    return await asyncio.to_thread(read_source, what) if force or is_source(what) else None


async def diff(
    cli: Cli,
    what: What,
    version: Annotated[
        str | None,
        typer.Option("--version", metavar="A", help="This stored version (name or number); default: the newest."),
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", metavar="B", help="Compare with this one; default: the deployed one.")
    ] = None,
) -> ExitCode:
    """Compare a manifest with what is deployed, or two stored versions. Exit code 0 if they are the same, 8 if not."""
    from trellis_cli.explaining import look_at_stored, manifest_sides, stored_sides
    from trellis_cli.lattice import open_lattice
    from trellis_cli.output.diff import diff_data, diff_text

    source = await _source(what)
    if source is not None and version is not None:
        raise RequestInvalid("A file is compared as it is.", remedy="Leave out --version, or name the application.")
    async with open_lattice(cli.settings) as lattice:
        stored = await look_at_stored(lattice, cli.settings.patience())
    if source is not None:
        sides = manifest_sides(source, stored, against)
    else:
        sides = [stored_sides(what, stored, version, against)]
    items = [diff_data(*one) for one in sides]
    differs = any(item["changes"] for item in items)
    names = [name for name, _, _ in sides]
    if cli.terminal.format is Format.JSONL:
        changes = [{"name": item["name"], **change} for item in items for change in item["changes"]]
        cli.terminal.emit(Listing("changes", (), (), changes, names))
    else:
        text = "".join(diff_text(*one, cli.terminal.out_style) for one in sides)
        cli.terminal.emit(Report(items[0] if len(items) == 1 else {"applications": items}, text=text, names=names))
    if not differs and cli.terminal.format.for_people:
        cli.terminal.note("No difference." if len(names) == 1 else f"No difference in {', '.join(names)}.")
    return ExitCode.CHANGES if differs else ExitCode.OK


async def why(
    cli: Cli,
    name: Name,
    component: Annotated[
        str | None, typer.Argument(metavar="[COMPONENT]", help="Only this one: its name in the manifest, or its id.")
    ] = None,
    watch: Watch = None,
) -> None:
    """Show why an application is as it is: for each component which hosts fit, and which do not for which rule.

    Below that everything that does not hold, since when, and when it is tried again. Of an application that is not
    deployed it shows what deploying the newest version would find.
    """
    from trellis_cli.explaining import explain, look
    from trellis_cli.lattice import open_lattice
    from trellis_cli.output.why import explanation_data, explanation_text
    from trellis_cli.watching import watch as watching

    async with open_lattice(cli.settings) as lattice:

        async def question() -> Report:
            sight = await look(lattice, cli.settings.patience())
            now = None if watch is not None and not cli.terminal.answers_people else time.time()
            found = await explain(lattice, sight, name, component, now)
            text = explanation_text(found, sight.host_names, cli.terminal.out_style)
            return Report(explanation_data(found, sight.host_names), text=text, names=[name])

        if watch is not None:
            await watching(cli, watch, question)
        else:
            cli.terminal.emit(await question())


async def history(cli: Cli, name: Name) -> None:
    """List the versions of an application: when each was stored and deployed last, and by whom as far as they said."""
    from trellis_cli.applications import open_applications
    from trellis_cli.output.history import history_data, history_listing

    async with open_applications(cli.settings) as applications:
        report = await applications.history(name)
    listing = history_listing(report, time.time())
    if cli.terminal.format in (Format.JSON, Format.YAML):
        cli.terminal.emit(Report(history_data(name, report), names=listing.names))
    else:
        cli.terminal.emit(listing)


async def rollback(
    cli: Cli,
    name: Name,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="N|VERSION", help="A number or version of `app history`; default: the one before."
        ),
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", metavar="", help="Return once it is accepted.")] = False,
    watch: Watch = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="Only say what it would do: trellis app plan.")
    ] = False,
) -> ExitCode:
    """Deploy an earlier version again: by default the one that was deployed before. Waits as `app deploy` does."""
    from trellis_cli.applications import Stored, open_applications
    from trellis_cli.commands.app import deploy_source, deployed_report
    from trellis_wadm.history import chosen_version

    async with open_applications(cli.settings) as applications:
        report = await applications.history(name)
        stored = [info.version for info in report.versions]
        version = chosen_version(to, stored, report.deployed, [one.version for one in report.deployments])
        if dry_run:
            return await plan(cli, name, version)
        if version == report.deployed:
            cli.terminal.note(f"`{name}` is at version {version} already.")
        else:
            cli.terminal.note(f"Taking `{name}` from {report.deployed or 'no version'} to {version}.")
        wanted = [Stored(name, version, False)]
        code, reports = await deploy_source(cli, applications, wanted, wait=not no_wait, watch=watch)
    data: list[dict[str, Any]] = [{**one, "previous_version": report.deployed} for one in reports]
    cli.terminal.emit(deployed_report(data), success=code == ExitCode.OK)
    return code


def register_before(group: typer.Typer) -> None:
    """Adds what one does before a deployment."""
    file = "wadm-manifests/kv-counter.yaml"
    command(
        group,
        "plan",
        examples=(
            f"trellis app plan {file}",
            "trellis app plan kv-counter v0.2.0 -o json",
            "trellis app plan kv-counter --undeploy",
        ),
    )(plan)
    command(
        group,
        "diff",
        examples=(f"trellis app diff {file}", "trellis app diff kv-counter --version v0.2.0 --against v0.1.0"),
    )(diff)


def register_after(group: typer.Typer) -> None:
    """Adds what one does afterwards."""
    command(group, "why", examples=("trellis app why kv-counter", "trellis app why kv-counter counter -o json"))(why)
    command(group, "history", examples=("trellis app history kv-counter", "trellis app history kv-counter -o wide"))(
        history
    )
    command(
        group,
        "rollback",
        examples=("trellis app rollback kv-counter", "trellis app rollback kv-counter --to 2 --dry-run"),
    )(rollback)
