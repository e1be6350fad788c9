"""Small hosts for the components of these tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from trellis_host.engine import (
    Component,
    Engine,
    HostFunction,
    HostInterface,
    HostResource,
    LinkedComponent,
)
from trellis_lattice.names import InterfaceName


def soon(seconds: float = 20) -> float:
    """A deadline no test should reach."""
    return asyncio.get_running_loop().time() + seconds


def interface(
    name: str, functions: Mapping[str, Any], resources: Mapping[str, HostResource] | None = None
) -> HostInterface:
    """A host interface; plain callables become functions that do not wait."""
    wrapped = {key: f if isinstance(f, HostFunction) else HostFunction(f) for key, f in functions.items()}
    parsed = InterfaceName.parse(name) if ":" in name else InterfaceName("", "", name)
    return HostInterface(parsed, wrapped, resources or {})


def resolver(*interfaces: HostInterface) -> Callable[..., HostInterface | None]:
    """Answers imports as a host does: by semver track."""

    def resolve(wanted: InterfaceName, type: object) -> HostInterface | None:
        return next((found for found in interfaces if found.name.answers(wanted)), None)

    return resolve


async def linked(engine: Engine, wasm: bytes, *interfaces: HostInterface) -> LinkedComponent:
    component: Component = await engine.load(wasm)
    return component.link(resolver(*interfaces), name="under-test")
