"""`trellis doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from trellis_cli.command import Cli, command
from trellis_cli.exits import ExitCode

__all__ = ["register"]

_PATIENCE = 5.0


async def doctor(
    cli: Cli,
    fix: Annotated[
        bool, typer.Option("--fix", metavar="", help="Raise the copies of streams that have too few.")
    ] = False,
) -> ExitCode:
    """Check NATS, JetStream, the hosts and this machine; say what is wrong and what to do.

    Takes about four seconds, because it listens. Ends with 1 if something is wrong; warnings alone end with 0.
    """
    from trellis_cli.connecting import environ_of, find_target
    from trellis_cli.doctor.checks import diagnose
    from trellis_cli.doctor.gathering import fix_replicas, gather
    from trellis_cli.output.doctor import doctor_document
    from trellis_cli.settings import default_data_dir
    from trellis_cli.versions import trellis_version

    environ, patience = environ_of(cli.settings), cli.settings.patience(_PATIENCE)
    target, directory = find_target(cli.settings), default_data_dir(environ)
    fixed: dict[str, int] = {}
    with cli.terminal.progress("Looking and listening"):
        facts = await gather(target, trellis_version(), directory, environ, timeout=patience)
        if fix and facts.unreachable is None:
            fixed = await fix_replicas(target, facts, timeout=patience)
            if fixed:
                facts = await gather(target, trellis_version(), directory, environ, timeout=patience)
    findings = diagnose(facts)
    failed = any(finding.level == "error" for finding in findings)
    document = doctor_document(facts.url, facts.lattice, findings, fixed, cli.terminal.out_style)
    cli.terminal.emit(document, success=not failed)
    for name, number in fixed.items():
        cli.terminal.note(f"{name} is now kept on {number} NATS server(s).")
    return ExitCode.FAILED if failed else ExitCode.OK


def register(app: typer.Typer) -> None:
    """Adds the command."""
    examples = ("trellis doctor", "trellis doctor --fix", "trellis doctor -o json --context prod")
    command(app, "doctor", examples=examples, panel="Set up")(doctor)
