"""`trellis sim MANIFEST…`: try an application on hosts that do not exist, while everything goes wrong."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trellis_cli.command import Cli, command
from trellis_cli.exits import ExitCode
from trellis_cli.output import Report, parse_duration
from trellis_cli.output.simulation import simulation_data, simulation_text
from trellis_lattice.errors import RequestInvalid

if TYPE_CHECKING:
    from trellis_sim.simulation import Result, Scenario
    from trellis_wadm.planner import Desired

__all__ = ["register"]

_SHOWN = 5
"""Violations that are shown with their traces."""
_FAULTS = "What goes wrong"
_SHORTEST = 30.0
"""Virtual seconds that a run needs at least: half of it is calm, to see that everything settles."""


def _rate(name: str, help: str) -> Any:
    return Annotated[float, typer.Option(name, metavar="SHARE", min=0.0, max=100.0, help=help, rich_help_panel=_FAULTS)]


def _share(name: str, help: str) -> Any:
    return Annotated[float, typer.Option(name, metavar="SHARE", min=0.0, max=0.5, help=help, rich_help_panel=_FAULTS)]


def _optional(*names: str, metavar: str, help: str) -> Any:
    return typer.Option(*names, metavar=metavar, help=help)


def sim(
    cli: Cli,
    manifests: Annotated[list[str], typer.Argument(metavar="MANIFEST…", help="Files, URLs, or - for standard input.")],
    hosts: Annotated[int, typer.Option("--hosts", min=1, max=1000, help="How many hosts there are.")] = 5,
    labels: Annotated[
        list[str] | None,
        _optional("--labels", metavar="KEY=A,B,…", help="Labels, given to the hosts in turn; may be repeated."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides everything; the first of several runs.")] = 0,
    runs: Annotated[int, typer.Option("--runs", min=1, max=1_000_000, help="Runs, each with the next seed.")] = 1,
    duration: Annotated[str, _optional("--duration", metavar="DURATION", help="Virtual time of each run.")] = "60s",
    kill_rate: _rate("--kill-rate", "Hosts killed, and started again later, as a share of all in 10 s.") = 0.1,  # type: ignore[valid-type]
    leave_rate: _rate("--leave-rate", "Hosts stopped cleanly.") = 0.0,  # type: ignore[valid-type]
    partition_rate: _rate("--partition-rate", "Hosts cut off from the lattice.") = 0.0,  # type: ignore[valid-type]
    freeze_rate: _rate("--freeze-rate", "Hosts frozen (SIGSTOP).") = 0.0,  # type: ignore[valid-type]
    split_rate: _rate("--split-rate", "How often the lattice falls in two in 10 s.") = 0.0,  # type: ignore[valid-type]
    nats_rate: _rate("--nats-rate", "How often NATS is away in 10 s.") = 0.0,  # type: ignore[valid-type]
    loss: _share("--loss", "Share of messages that are lost.") = 0.0,  # type: ignore[valid-type]
    duplication: _share("--duplication", "Share of messages that come twice.") = 0.0,  # type: ignore[valid-type]
    reorder: _share("--reorder", "Share of messages that are overtaken by others.") = 0.0,  # type: ignore[valid-type]
    failing_starts: _share("--failing-starts", "Share of starts that fail while there are faults.") = 0.0,  # type: ignore[valid-type]
    slow_start: Annotated[
        str | None,
        typer.Option(
            "--slow-start", metavar="DURATION", help="The longest first start of an image.", rich_help_panel=_FAULTS
        ),
    ] = None,
    trace: Annotated[int, typer.Option("--trace", min=0, max=100_000, help="Events shown before a violation.")] = 40,
) -> ExitCode:
    """Try applications on simulated hosts, with faults, and check that they are healed.

    Nothing is started and no lattice is needed: the real scheduler and the real state machines of hosts run on a
    virtual clock. Checked is that exactly what is asked for runs in the end, once; that nothing is gone for longer
    than a failover takes; that nobody decides without the lease; that nothing flaps; that the status is true. The same
    seed gives the same run.
    """
    from trellis_sim.bus import Weather
    from trellis_sim.faults import Faults
    from trellis_sim.simulation import Scenario, simulate
    from trellis_sim.universe import Starts

    seconds = parse_duration(duration)
    if seconds < _SHORTEST:
        raise RequestInvalid(
            f"A run of {seconds:g} s is too short to see whether everything settles.",
            remedy=f"Give it at least {_SHORTEST:g} s (--duration).",
        )
    desired = _desired(manifests)
    scenario = Scenario(
        desired=(desired,),
        hosts=hosts,
        duration=seconds,
        labels=_labels(labels or [], hosts),
        faults=Faults(kill_rate, leave_rate, partition_rate, freeze_rate, split_rate, nats_rate),
        weather=Weather(loss, duplication, reorder),
        starts=Starts(slow=parse_duration(slow_start) if slow_start else 0.0, failing=failing_starts),
    )
    results: list[Result] = []
    with cli.terminal.progress(f"Simulating {hosts} hosts") as progress:
        for number in range(seed, seed + runs):
            results.append(simulate(scenario, number, keep=max(1, trace)))
            if runs > 1 and cli.terminal.interactive:
                progress.update(f"Simulating {hosts} hosts: {len(results)} of {runs} runs")
    replay = _replay(cli, manifests, {
        "--hosts": hosts, "--labels": labels or [], "--duration": duration, "--kill-rate": kill_rate,
        "--leave-rate": leave_rate, "--partition-rate": partition_rate, "--freeze-rate": freeze_rate,
        "--split-rate": split_rate, "--nats-rate": nats_rate, "--loss": loss, "--duplication": duplication,
        "--reorder": reorder, "--failing-starts": failing_starts, "--slow-start": slow_start,
    })  # fmt: skip
    notes = _notes(desired, scenario)
    data = simulation_data(results, hosts, seconds, notes, replay, shown=_SHOWN)
    held = all(result.held for result in results)
    cli.terminal.emit(Report(data, text=simulation_text(data)), success=held)
    return ExitCode.OK if held else ExitCode.FAILED


def _desired(manifests: Sequence[str]) -> Desired:
    """What all these manifests ask for together."""
    from trellis_cli.manifests import read_source, sound_manifests
    from trellis_wadm.planner import desired_of

    found = [parsed.manifest for text in manifests for parsed, _ in sound_manifests(read_source(text))]
    return desired_of([manifest for manifest in found if manifest is not None])


def _labels(given: Sequence[str], hosts: int) -> list[Mapping[str, str]]:
    """The labels of each host. Raises `RequestInvalid`."""
    values: dict[str, list[str]] = {}
    for text in given:
        key, equals, listed = text.partition("=")
        if not key or not equals or not all(listed.split(",")):
            raise RequestInvalid(f"{text!r} is not a label with its values.", remedy="Write it as zone=a,b,c.")
        values[key] = listed.split(",")
    return [{key: options[i % len(options)] for key, options in values.items()} for i in range(hosts)]


def _notes(desired: Desired, scenario: Scenario) -> list[str]:
    """What stands against the manifests themselves, whatever happens to hosts."""
    from trellis_wadm.planner import find_conflicts

    notes = [problem for app in desired.applications.values() for problem in app.problems]
    notes += [conflict.message for conflict in find_conflicts(desired).values()]
    for scaler in desired.all_workloads():
        for spread in scaler.spreads:
            if not any(spread.requirements.items() <= labels.items() for labels in scenario.labels):
                wanted = ", ".join(f"{key}={value}" for key, value in sorted(spread.requirements.items()))
                notes.append(f"No host fits the spread {spread.name} of {scaler.workload} ({wanted}): see --labels.")
    return notes


def _replay(cli: Cli, manifests: Sequence[str], options: Mapping[str, object]) -> str:
    """The command that repeats one run, up to its seed."""
    words = ["trellis", "sim", *manifests]
    for name, value in options.items():
        for each in value if isinstance(value, list) else [value]:
            if each is not None and not (isinstance(each, float) and math.isclose(each, 0.0) and name != "--kill-rate"):
                words += [name, f"{each:g}" if isinstance(each, float) else str(each)]
    return shlex.join(words)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    examples = (
        "trellis sim wadm.yaml",
        "trellis sim wadm.yaml --hosts 50 --kill-rate 0.1 --seed 7",
        "trellis sim wadm.yaml --hosts 9 --labels zone=a,b,c --partition-rate 0.2 --loss 0.01 --runs 100 -o json",
    )
    command(app, "sim", examples=examples, panel="Applications")(sim)
