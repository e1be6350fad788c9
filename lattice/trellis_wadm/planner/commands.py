"""Commands: the only ways in which a plan changes the lattice. A closed union; each is one control operation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, assert_never

from trellis_lattice.ids import short
from trellis_lattice.links import Link

__all__ = [
    "Command",
    "DeleteConfig",
    "DeleteLink",
    "PrepareComponent",
    "PutConfig",
    "PutLink",
    "ScaleComponent",
    "StartProvider",
    "StopProvider",
    "command_host",
    "command_key",
    "describe",
    "to_json",
]


@dataclass(frozen=True, slots=True)
class PutConfig:
    name: str
    properties: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DeleteConfig:
    name: str


@dataclass(frozen=True, slots=True)
class PutLink:
    link: Link


@dataclass(frozen=True, slots=True)
class DeleteLink:
    """`target` tells which link is meant; v1's wire form has no room for it and removes the first match."""

    source_id: str
    target: str
    name: str
    wit_namespace: str
    wit_package: str


@dataclass(frozen=True, slots=True)
class StartProvider:
    slow: ClassVar[bool] = True
    """The work goes on after the host has acknowledged the command."""
    host: str
    id: str
    image: str
    config: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StopProvider:
    host: str
    id: str


@dataclass(frozen=True, slots=True)
class ScaleComponent:
    """Start, resize, update or stop (`count` 0) a component on a host.

    `allow_update` lets the host exchange the image of a running component; `limits` is v1's
    `component_limits`: `max_memory_limit` in bytes, `max_execution_time` in milliseconds.
    """

    slow: ClassVar[bool] = True

    host: str
    id: str
    image: str
    count: int
    config: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)
    allow_update: bool = False


@dataclass(frozen=True, slots=True)
class PrepareComponent:
    """Have a host fetch and compile an image that it may have to run soon. Nothing is started."""

    slow: ClassVar[bool] = True

    host: str
    image: str


Command = (
    PutConfig | DeleteConfig | PutLink | DeleteLink | StartProvider | StopProvider | ScaleComponent | PrepareComponent
)


def command_key(command: Command) -> str:
    """What a command acts on: attempts are counted for each key."""
    match command:
        case PutConfig(name) | DeleteConfig(name):
            return f"config/{name}"
        case PutLink(link):
            return f"link/{link.source_id}/{link.name}/{link.wit_namespace}:{link.wit_package}/{link.target}"
        case DeleteLink():
            package = f"{command.wit_namespace}:{command.wit_package}"
            return f"link/{command.source_id}/{command.name}/{package}/{command.target}"
        case StartProvider():
            return f"provider/{command.host}/{command.id}"
        case StopProvider():
            return f"stop/{command.host}/{command.id}"
        case ScaleComponent():
            # Each image is an attempt of its own: that one was refused is remembered while another one runs.
            place = f"component/{command.host}/{command.id}"
            return f"{place}/{command.image}" if command.count else place
        case PrepareComponent(host, image):
            return f"prepare/{host}/{image}"
    assert_never(command)


def command_host(command: Command) -> str | None:
    """The host that carries a command out; None where any host may."""
    if isinstance(command, StartProvider | StopProvider | ScaleComponent | PrepareComponent):
        return command.host
    return None


def describe(command: Command) -> str:
    """One line for people."""
    match command:
        case PutConfig(name):
            return f"put config {name}"
        case DeleteConfig(name):
            return f"delete config {name}"
        case PutLink(link):
            interfaces = ",".join(link.interfaces)
            what = f"{link.wit_namespace}:{link.wit_package}/{interfaces}"
            return f"link {link.source_id} to {link.target} ({what}, name {link.name})"
        case DeleteLink():
            what = f"{command.wit_namespace}:{command.wit_package}"
            return f"delete link {command.source_id} to {command.target} ({what}, name {command.name})"
        case StartProvider():
            return f"start provider {command.id} on {short(command.host)}"
        case StopProvider():
            return f"stop provider {command.id} on {short(command.host)}"
        case ScaleComponent(count=0):
            return f"stop component {command.id} on {short(command.host)}"
        case ScaleComponent():
            plural = "" if command.count == 1 else "s"
            return f"run component {command.id} on {short(command.host)} with up to {command.count} instance{plural}"
        case PrepareComponent(host, image):
            return f"prepare {image} on {short(host)}"
    assert_never(command)


def to_json(command: Command) -> dict[str, Any]:
    """The kind of the command and what it is about, as JSON has it."""
    kind = type(command).__name__
    if isinstance(command, PutLink):
        link = command.link
        return {"command": kind, "source_id": link.source_id, "target": link.target, "name": link.name}
    fields = {name: getattr(command, name) for name in command.__dataclass_fields__}
    return {"command": kind} | {k: dict(v) if isinstance(v, Mapping) else v for k, v in fields.items()}
