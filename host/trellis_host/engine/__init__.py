"""Runs WebAssembly components as fibers on the event loop, each call in a fresh sandbox."""

from trellis_host.engine.api import (
    HostFunction,
    HostInterface,
    HostResource,
    ImportResolver,
    Limits,
    LoadPhase,
    LoadProgress,
    waiting,
)
from trellis_host.engine.component import Component
from trellis_host.engine.engine import Engine, EngineStats
from trellis_host.engine.linked import Export, LinkedComponent
from trellis_host.engine.running import Running, Sandbox
from trellis_host.engine.settings import EngineSettings
from trellis_host.engine.space import ComponentResource

__all__ = [
    "Component",
    "ComponentResource",
    "Engine",
    "EngineSettings",
    "EngineStats",
    "Export",
    "HostFunction",
    "HostInterface",
    "HostResource",
    "ImportResolver",
    "Limits",
    "LinkedComponent",
    "LoadPhase",
    "LoadProgress",
    "Running",
    "Sandbox",
    "waiting",
]
