"""One engine for all tests of the room, and the components written as text beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import wasmtime

from trellis_host.engine import Engine, EngineSettings

COMPONENTS = Path(__file__).parent / "components"


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    engine = Engine(EngineSettings(max_in_flight=2048))
    yield engine
    asyncio.run(engine.aclose())


@pytest.fixture
def wasm() -> Callable[[str], bytes]:
    """The bytes of a component by the name of its file in `components`."""
    return read_component


def read_component(name: str) -> bytes:
    return bytes(wasmtime.wat2wasm((COMPONENTS / f"{name}.wat").read_text()))
