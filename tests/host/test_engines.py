"""A host runs its components with whatever engine it is given."""

from __future__ import annotations

from pathlib import Path

from tests.fixtures import components
from tests.host.support import Operator, image, running_host
from trellis_host.engine import Engine, EngineSettings
from trellis_lattice.wit.types import FuncType, Primitive

TEXT = FuncType((("text", Primitive.STRING),), Primitive.STRING)


async def test_the_engine_is_made_by_whoever_makes_the_host(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    made: list[Engine] = []

    def make(settings: EngineSettings) -> Engine:
        made.append(Engine(settings))
        return made[-1]

    async with running_host(nats_server, lattice, tmp_path, max_in_flight=7, make_engine=make) as one:
        await operator.start_component(one, "echo", image(tmp_path, "echo", components.echo()))

        assert await operator.call("echo", "test:echo/echo@0.1.0", "text", TEXT, "x") == "x"
        assert [engine.stats().components for engine in made] == [1]
    assert made[0].settings.max_in_flight == 7
