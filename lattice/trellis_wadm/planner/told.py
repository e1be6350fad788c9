"""How hosts of wasmCloud v1 tell what they run (lattice-protocol 9.4). Pure.

They leave the scheme out of a reference: what was asked for as `file:///app.wasm` is told as `/app.wasm`, and
`wasmcloud+builtin://http-server` as `http-server`. Everything else compares references as they were asked for, so what
is told is read as the reference it stands for, before anything is decided.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from trellis_wadm.planner.commands import ScaleComponent, StartProvider
from trellis_wadm.planner.desired import Desired
from trellis_wadm.planner.world import Host, Observed, RunningComponent, RunningProvider

__all__ = ["as_asked", "without_scheme"]

_SCHEMES = ("file://", "oci://", "wasmcloud+builtin://", "https://", "http://")
Running = TypeVar("Running", RunningComponent, RunningProvider)
Images = Mapping[tuple[str, str], str]
"""By workload and reference without scheme: the reference as it was asked for."""


def without_scheme(reference: str) -> str:
    """A reference as v1 tells it."""
    for scheme in _SCHEMES:
        if reference.startswith(scheme):
            return reference.removeprefix(scheme)
    return reference


def as_asked(desired: Desired, observed: Observed) -> Observed:
    """What is observed, with the references of v1's hosts as they were asked for."""
    foreign = [host for host in observed.hosts.values() if not host.ours and (host.components or host.providers)]
    if not foreign:
        return observed
    sent: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for attempt in observed.attempts.values():
        if isinstance(attempt.command, ScaleComponent | StartProvider):
            sent[attempt.command.host].append((attempt.command.id, attempt.command.image))
    wanted = _images((scaler.workload, scaler.image) for scaler in desired.all_workloads())
    read = {host.id: _read(host, {**_images(sent[host.id]), **wanted}) for host in foreign}
    return replace(observed, hosts={**observed.hosts, **read})


def _images(asked: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    return {(id, without_scheme(image)): image for id, image in asked}


def _read(host: Host, images: Images) -> Host:
    components = {id: _read_one(running, images) for id, running in host.components.items()}
    providers = {id: _read_one(running, images) for id, running in host.providers.items()}
    return replace(host, components=components, providers=providers)


def _read_one(running: Running, images: Images) -> Running:
    image = images.get((running.id, without_scheme(running.image)), running.image)
    return running if image == running.image else replace(running, image=image)
