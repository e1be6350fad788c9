"""`trellis trace ID`."""

from __future__ import annotations

from typing import Annotated

import typer

from trellis_cli.command import Cli, command
from trellis_cli.lattice import open_lattice
from trellis_cli.output import Report
from trellis_lattice.errors import NotFound

__all__ = ["register"]


async def trace(
    cli: Cli,
    trace_id: Annotated[str, typer.Argument(metavar="ID", help="Trace id (32 hex digits), or a whole traceparent.")],
) -> None:
    """Show one request as a tree: what called what, when, for how long, on which host.

    Every host remembers the spans of recent traces; no collector is needed. The id of a request stands in the
    `traceresponse` header of its HTTP response, and in the hosts' logs.
    """
    from trellis_cli.output.trace import trace_text
    from trellis_lattice.tracing.query import gather_trace

    wanted = _id(trace_id)
    async with open_lattice(cli.settings) as lattice:
        hosts = await lattice.hosts()
        connection = lattice.client.connection
        spans = await gather_trace(connection, lattice.name, wanted, timeout=lattice.timeout, hosts=len(hosts) or None)
        if not spans:
            raise NotFound(
                f"No host of lattice `{lattice.name}` remembers trace {wanted}.",
                remedy="Hosts keep the most recent traces; above 50 new ones a second only a sample is recorded.",
            )
    names = {host.id: host.friendly_name for host in hosts}
    text = trace_text(wanted, spans, names, cli.terminal.out_style)
    data = {"trace_id": wanted, "spans": [span.to_wire() for span in spans]}
    cli.terminal.emit(Report(data, text=text, names=[wanted]))


def _id(text: str) -> str:
    """The trace id, also out of a `traceparent` or `traceresponse` (`00-<trace>-<span>-01`)."""
    parts = text.strip().split("-")
    return parts[1] if len(parts) == 4 else text.strip()


def register(app: typer.Typer) -> None:
    """Adds the command."""
    id = "4bf92f3577b34da6a3ce929d0e0e4736"
    command(app, "trace", examples=(f"trellis trace {id}", f"trellis trace {id} -o json"), panel="Look")(trace)
