"""`trellis app …`: applications."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trellis_cli.command import Cli, command
from trellis_cli.commands import app_look
from trellis_cli.exits import ExitCode
from trellis_cli.output import Document, Report
from trellis_cli.watching import Watch
from trellis_lattice.errors import NotFound, RequestInvalid

if TYPE_CHECKING:
    from trellis_cli.applications import Applications, Stored
    from trellis_wadm.api import StatusReport

__all__ = ["deploy_source", "deployed_report", "register"]

_UNDEPLOY_TIMEOUT = 60.0

File = Annotated[str, typer.Argument(metavar="FILE", help="The manifest: a file, - for standard input, or a URL.")]
NameOrFile = Annotated[
    str | None, typer.Argument(metavar="NAME|FILE", help="An application that is stored, or its manifest.")
]
FromFile = Annotated[
    str | None, typer.Option("-f", "--file", metavar="FILE", help="The manifest, as an option instead.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The application.")]
Version = Annotated[str | None, typer.Argument(metavar="[VERSION]", help="Which version; default: the newest.")]
NoWait = Annotated[bool, typer.Option("--no-wait", metavar="", help="Return once it is accepted.")]
Yes = Annotated[bool, typer.Option("-y", "--yes", metavar="", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", metavar="", help="Only say what it would do: trellis app plan.")]


def validate(cli: Cli, file: File) -> ExitCode:
    """Check a manifest, without a lattice: every error and warning with line, column and remedy."""
    from trellis_cli.manifests import read_source, resolve_images
    from trellis_cli.output.findings import findings_text
    from trellis_wadm.manifest import errors, parse_manifests

    source = read_source(file)
    parsed = parse_manifests(source.text)
    findings = [finding for one in parsed for finding in one.findings]
    wrong = errors(findings)
    data: dict[str, Any] = {
        "valid": not wrong,
        "warnings": [finding.to_json() for finding in findings if finding not in wrong],
        "errors": [finding.to_json() for finding in wrong],
    }
    text = findings_text(source.name, findings, cli.terminal.out_style)
    cli.terminal.emit(Report(data, text=text), success=not wrong)
    if wrong:
        return ExitCode.FAILED
    for one in parsed:
        assert one.manifest is not None
        try:
            resolve_images(one.manifest.to_wire(), source.base)
        except (NotFound, RequestInvalid) as error:
            cli.terminal.note(f"warning: {error}")
    cli.terminal.note(f"{source.name} is valid.")
    return ExitCode.OK


async def put(cli: Cli, file: File) -> None:
    """Store a manifest without deploying it. The same content is not stored twice."""
    from trellis_cli.applications import open_applications
    from trellis_cli.manifests import read_source

    source = read_source(file)
    async with open_applications(cli.settings) as applications:
        stored = await applications.put(source)
    cli.terminal.emit(deployed_report([{**_model(one, deployed=False), "changed": one.changed} for one in stored]))
    for one in stored:
        what = "Stored" if one.changed else "Unchanged:"
        cli.terminal.note(f"{what} `{one.name}` version {one.version}. Run it: trellis app deploy {one.name}")


async def deploy(
    cli: Cli,
    what: NameOrFile = None,
    version: Version = None,
    file: FromFile = None,
    no_wait: NoWait = False,
    watch: Watch = None,
    replace: Annotated[
        bool, typer.Option("--replace", metavar="", help="Take the place of a stored version of the same name.")
    ] = False,
    dry_run: DryRun = False,
) -> ExitCode:
    """Run an application, and wait until it does.

    While it waits it says what is missing and why; --timeout bounds that (default 180s, because the first start of a
    component compiles it), --watch shows the whole status instead. Relative image paths start from the manifest's
    folder. What it would do: trellis app plan.
    """
    from trellis_cli.applications import Stored, open_applications
    from trellis_cli.manifests import is_source, read_source

    what = _one_of(what, file)
    if dry_run:
        return await app_look.plan(cli, what, version, file=file, replace=replace)
    if file is None and not is_source(what):
        async with open_applications(cli.settings) as applications:
            wanted = [Stored(what, version or "", False)]
            code, reports = await deploy_source(cli, applications, wanted, wait=not no_wait, watch=watch)
    else:
        if version is not None:
            raise RequestInvalid("A version can only be chosen for a stored application, by its name.")
        source = await asyncio.to_thread(read_source, what)
        async with open_applications(cli.settings) as applications:
            stored = await applications.put(source, replace=replace)
            code, reports = await deploy_source(cli, applications, stored, wait=not no_wait, watch=watch)
    cli.terminal.emit(deployed_report(reports), success=code == ExitCode.OK)
    return code


async def deploy_source(
    cli: Cli, applications: Applications, stored: list[Stored], *, wait: bool, watch: str | None = None
) -> tuple[ExitCode, list[dict[str, Any]]]:
    """Deploys what is stored, one after the other; the worst exit code, and what to report of each."""
    worst, reports = ExitCode.OK, []
    for one in stored:
        version = await applications.deploy(one.name, one.version or None)
        report: dict[str, Any] = {"deployed": False, "model_name": one.name, "model_version": version}
        if wait:
            code, outcome = await _await_deployed(cli, applications, one, version, watch)
            report |= outcome
            worst = code if code != ExitCode.OK else worst
        else:
            cli.terminal.note(f"Accepted `{one.name}` version {version}. Look: trellis app status {one.name}")
        reports.append({**report, "routes": [list(route) for route in one.routes]})
    return worst, reports


async def _await_deployed(
    cli: Cli, applications: Applications, one: Stored, version: str, watch: str | None
) -> tuple[ExitCode, dict[str, Any]]:
    """Waits for the outcome of one deployment: its exit code, and what there is to report of it."""
    from trellis_cli.output.applications import curl_commands, failure_text
    from trellis_cli.rollout import DEPLOY_TIMEOUT, Verdict
    from trellis_cli.watching import Screen

    patience = cli.settings.patience(DEPLOY_TIMEOUT)
    if watch is not None:
        screen = Screen(cli)

        async def show(report: StatusReport) -> None:
            screen.show(await _status_report(cli, applications, one.name, report, watched=True))

        verdict, status = await applications.until_deployed(one.name, version, lambda line: None, patience, show)
    else:
        with cli.terminal.progress(f"Deploying {one.name} {version}") as progress:
            verdict, status = await applications.until_deployed(one.name, version, progress.say, patience)
    report = {"deployed": verdict is Verdict.DEPLOYED, "status": status.model_dump(mode="json")}
    if verdict is Verdict.DEPLOYED:
        cli.terminal.note(f"Deployed `{one.name}` version {version}.")
        for line in curl_commands(one.routes):
            cli.terminal.note(f"Try it: {line}")
        return ExitCode.OK, report
    message, remedy = failure_text(one.name, status, partial=verdict is Verdict.PARTIAL)
    message = await applications.named(message, status)
    cli.terminal.note_failure(message, remedy)
    code = ExitCode.PARTIAL if verdict is Verdict.PARTIAL else ExitCode.FAILED
    return code, {**report, "error": message, "remedy": remedy}


async def undeploy(
    cli: Cli,
    what: NameOrFile = None,
    file: FromFile = None,
    all: Annotated[bool, typer.Option("--all", metavar="", help="Every application that is deployed.")] = False,
    yes: Yes = False,
    no_wait: NoWait = False,
    dry_run: DryRun = False,
) -> ExitCode:
    """Stop an application, and wait until nothing of it runs. It stays stored.

    What another application uses as well keeps running. What it would do: trellis app plan NAME --undeploy.
    """
    from trellis_cli.applications import open_applications

    what = _one_of(what, file, every="--all" if all else None)
    if dry_run and not all:
        return await app_look.plan(cli, what, file=file, undeploy=True)
    async with open_applications(cli.settings) as applications:
        names = await applications.deployed_names() if all else _names(what, file)
        if dry_run:
            return await app_look.plan_undeploy(cli, names)
        if all:
            _confirm(cli, yes, f"Undeploy {_count(names)} of lattice `{applications.lattice.name}`?")
        for name in names:
            await applications.undeploy(name)
            if not no_wait:
                with cli.terminal.progress(f"Undeploying {name}") as progress:
                    await applications.until_gone(name, progress.say, cli.settings.patience(_UNDEPLOY_TIMEOUT))
            cli.terminal.note(f"Undeployed `{name}`.")
    cli.terminal.emit(Report({"undeployed_application_names": names}, names=names))
    return ExitCode.OK


async def delete(
    cli: Cli,
    what: NameOrFile = None,
    version: Annotated[str | None, typer.Argument(metavar="[VERSION]", help="Only this one; default: all.")] = None,
    file: FromFile = None,
    all_undeployed: Annotated[
        bool, typer.Option("--all-undeployed", metavar="", help="Every application that is not deployed.")
    ] = False,
    yes: Yes = False,
    ignore_missing: Annotated[
        bool, typer.Option("--ignore-missing", metavar="", help="It is fine if there is none.")
    ] = False,
) -> None:
    """Delete an application from the store; what runs of it is stopped."""
    from trellis_cli.applications import open_applications

    what = _one_of(what, file, every="--all-undeployed" if all_undeployed else None)
    async with open_applications(cli.settings) as applications:
        names = await applications.undeployed_names() if all_undeployed else _names(what, file)
        if all_undeployed:
            _confirm(cli, yes, f"Delete {_count(names)} from the store?")
        for name in names:
            if not await applications.delete(name, version) and not ignore_missing:
                raise NotFound(
                    f"There is no application `{name}`{f' {version}' if version else ''}.",
                    remedy="List: trellis app list",
                )
            cli.terminal.note(f"Deleted `{name}`{f' version {version}' if version else ''}.")
    cli.terminal.emit(Report({"deleted_applications": names}, names=names))


async def list_(cli: Cli, watch: Watch = None) -> None:
    """List the applications that are stored, and what is deployed of them."""
    from trellis_cli.applications import open_applications
    from trellis_cli.output.applications import applications as listing

    async with open_applications(cli.settings) as applications:

        async def question() -> Document:
            return listing(await applications.all(), applications.lattice.name)

        await _answer(cli, watch, question)


async def get(
    cli: Cli,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The application; default: list all.")] = None,
    version: Version = None,
    watch: Watch = None,
) -> None:
    """Print the stored manifest of an application, as YAML."""
    from trellis_cli.applications import open_applications
    from trellis_cli.output.applications import manifest_text

    if name is None:
        return await list_(cli, watch)
    async with open_applications(cli.settings) as applications:

        async def question() -> Document:
            manifest = await applications.manifest(name, version)
            return Report({"application": manifest}, text=manifest_text(manifest), names=[name])

        await _answer(cli, watch, question)
    return None


async def status(cli: Cli, name: Name, watch: Watch = None) -> ExitCode:
    """Show how an application is: its parts, and for each thing that does not hold what, where, why, since when.

    Exit code 0 if it is deployed, 4 while it is on its way, 1 if it has failed or is unhealthy, 7 if only part
    of it is placed. Which hosts were rejected for what: trellis app why.
    """
    from trellis_cli.applications import open_applications

    codes: list[ExitCode] = []
    async with open_applications(cli.settings) as applications:

        async def question() -> Document:
            report = await applications.status(name)
            codes.append(_status_code(report))
            return await _status_report(cli, applications, name, report, watched=watch is not None)

        await _answer(cli, watch, question)
    return codes[-1]


async def _answer(cli: Cli, every: str | None, question: Callable[[], Awaitable[Document]]) -> None:
    """The answer once, or again and again until Ctrl-C."""
    from trellis_cli.watching import watch

    if every is None:
        cli.terminal.emit(await question())
    else:
        await watch(cli, every, question)


async def _status_report(
    cli: Cli, applications: Applications, name: str, report: StatusReport, *, watched: bool
) -> Report:
    """A status as an answer. Ages are left out of a stream of lines: they are always new."""
    from trellis_cli.output.applications import status_data, status_text
    from trellis_cli.output.unmet import unmet_of

    hosts = {condition.host for condition in report.conditions if condition.host}
    names = await applications.host_names(hosts)
    now = None if watched and not cli.terminal.answers_people else time.time()
    unmet = unmet_of(report, names, now)
    text = status_text(name, report, unmet, cli.terminal.out_style)
    return Report(status_data(name, report, unmet), text=text, names=[name])


def _status_code(report: Any) -> ExitCode:
    from trellis_cli.rollout import Verdict, verdict

    codes = {
        Verdict.DEPLOYED: ExitCode.OK,
        Verdict.GOING: ExitCode.TIMED_OUT,
        Verdict.PARTIAL: ExitCode.PARTIAL,
        Verdict.FAILED: ExitCode.FAILED,
    }
    return ExitCode.OK if report.type == "undeployed" else codes[verdict(report, report.version)]


def _one_of(what: str | None, file: str | None, *, every: str | None = None) -> str:
    """What was named as an argument or with -f, unless an option names `every` one. Raises a usage error."""
    if sum(given is not None for given in (what, file, every)) != 1:
        raise typer.BadParameter(f"{every} says which." if every else "Give either NAME|FILE or -f FILE.")
    return what or file or ""


def _confirm(cli: Cli, yes: bool, question: str) -> None:
    """Asks somebody who looks. A script is taken at its word, as v1 does."""
    if not yes and cli.terminal.interactive and sys.stdin.isatty() and not typer.confirm(question, err=True):
        raise typer.Abort


def _count(names: list[str]) -> str:
    return (
        f"{len(names)} application{'' if len(names) == 1 else 's'} ({', '.join(names[:8])}{', …' * (len(names) > 8)})"
    )


def _names(what: str, file: str | None) -> list[str]:
    """The applications that a name or a manifest means."""
    from trellis_cli.manifests import is_source, names_in, read_source

    return names_in(read_source(what)) if file is not None or is_source(what) else [what]


def _model(stored: Stored, *, deployed: bool) -> dict[str, Any]:
    return {"deployed": deployed, "model_name": stored.name, "model_version": stored.version}


def deployed_report(models: list[dict[str, Any]]) -> Report:
    """One application is the answer itself, several are a list."""
    data = models[0] if len(models) == 1 else {"applications": models}
    return Report(data, names=[model["model_name"] for model in models])


def register(group: typer.Typer) -> None:
    """Adds the commands."""
    file = "wadm-manifests/kv-counter.yaml"
    command(group, "validate", examples=(f"trellis app validate {file}", "trellis app validate - < app.yaml"))(validate)
    command(group, "put", examples=(f"trellis app put {file}", "trellis app put https://example.org/app.yaml"))(put)
    app_look.register_before(group)
    command(
        group,
        "deploy",
        examples=(
            f"trellis app deploy {file}",
            "trellis app deploy kv-counter v0.2.0 --timeout 2m",
            f"trellis app deploy {file} --watch",
            "trellis app deploy - --no-wait < app.yaml",
        ),
    )(deploy)
    command(group, "undeploy", examples=("trellis app undeploy kv-counter", f"trellis app undeploy -f {file}"))(
        undeploy
    )
    command(
        group,
        "delete",
        aliases=("del",),
        examples=("trellis app delete kv-counter", "trellis app delete kv-counter v0.1.0 --ignore-missing"),
    )(delete)
    command(group, "list", aliases=("ls",), examples=("trellis app list", "trellis app list --watch 5s"))(list_)
    command(group, "get", examples=("trellis app get kv-counter", "trellis app get kv-counter v0.1.0 -o json"))(get)
    command(group, "status", examples=("trellis app status kv-counter", "trellis app status kv-counter -w -o jsonl"))(
        status
    )
    app_look.register_after(group)
