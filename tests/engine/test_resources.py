"""Resources of the component, and resources of the host under several names."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from trellis_host.engine import ComponentResource, Engine, HostInterface, HostResource, LinkedComponent
from trellis_lattice.errors import RequestInvalid
from trellis_lattice.wit.types import Borrow, Own, ResourceId

from .conftest import read_component
from .support import interface, linked, soon

COUNTERS = "test:own/counters@1.2.3"


async def counters(engine: Engine) -> LinkedComponent:
    return await linked(engine, read_component("own-resources"))


async def test_a_resource_of_the_component_lives_across_calls(engine: Engine) -> None:
    component = await counters(engine)
    make, add = component.export(COUNTERS, "make"), component.export(COUNTERS, "[method]counter.add")
    finish, dropped = component.export(COUNTERS, "finish"), component.export(COUNTERS, "dropped")
    sandbox = await component.sandbox(None, deadline=soon())
    counter = await sandbox.call(make, [5], soon())
    assert isinstance(counter, ComponentResource)
    assert repr(counter) == "<test:own/counters.counter>"
    assert await sandbox.call(add, [counter, 2], soon()) == 7
    assert await sandbox.call(add, [counter, 2], soon()) == 9
    await sandbox.call(finish, [counter], soon())
    assert await sandbox.call(dropped, [], soon()) == 1
    assert repr(counter) == "<test:own/counters.counter, gone>"
    with pytest.raises(RequestInvalid, match=r"expected a test:own/counters\.counter of this sandbox"):
        await sandbox.call(add, [counter, 2], soon())
    sandbox.close()


async def test_two_resources_in_one_result(engine: Engine) -> None:
    component = await counters(engine)
    sandbox = await component.sandbox(None, deadline=soon())
    first, second = await sandbox.call(component.export(COUNTERS, "two"), [], soon())
    add = component.export(COUNTERS, "[method]counter.add")
    assert await sandbox.call(add, [first, 1], soon()) == 1
    assert await sandbox.call(add, [second, 10], soon()) == 10
    assert await sandbox.call(add, [first, 1], soon()) == 2
    sandbox.close()
    gc.collect()
    assert first.address == second.address == 0


async def test_a_forgotten_resource_leaves_the_others_alone(engine: Engine) -> None:
    component = await counters(engine)
    add = component.export(COUNTERS, "[method]counter.add")
    sandbox = await component.sandbox(None, deadline=soon())
    first, second = await sandbox.call(component.export(COUNTERS, "two"), [], soon())
    sandbox.forget(first)
    sandbox.forget(first)
    with pytest.raises(RequestInvalid):
        await sandbox.call(add, [first, 1], soon())
    assert await sandbox.call(add, [second, 1], soon()) == 1
    sandbox.close()


async def test_a_resource_of_another_sandbox_is_refused(engine: Engine) -> None:
    component = await counters(engine)
    make, add = component.export(COUNTERS, "make"), component.export(COUNTERS, "[method]counter.add")
    first = await component.sandbox(None, deadline=soon())
    second = await component.sandbox(None, deadline=soon())
    counter = await first.call(make, [5], soon())
    with pytest.raises(RequestInvalid, match=r"args\.0: expected a test:own/counters.counter of this sandbox"):
        await second.call(add, [counter, 1], soon())
    assert await first.call(add, [counter, 1], soon()) == 6
    first.close()
    with pytest.raises(RequestInvalid):
        await second.call(add, [counter, 1], soon())
    second.close()


class Thing:
    def __init__(self, number: int) -> None:
        self.number = number


def shared(seen: list[Any], dropped: list[Any]) -> tuple[HostInterface, HostInterface]:
    thing = HostResource("thing", drop=lambda context, it: dropped.append(it))

    def look(context: Any, a: Thing, b: Thing) -> int:
        seen.extend([a, b])
        return a.number

    base = interface("test:shared/base@0.2.9", {"make": lambda context, n: Thing(n)}, {"thing": thing})
    return base, interface("test:shared/other@0.2.9", {"look": look})


async def test_a_type_under_several_names_is_one_resource(engine: Engine) -> None:
    seen: list[Any] = []
    dropped: list[Any] = []
    component = await linked(engine, read_component("shared-resource"), *shared(seen, dropped))
    identity = ResourceId("test:shared/base", "thing")
    look = component.component.imports["test:shared/other@0.2.1"].functions["look"]
    assert look.params == (("a", Borrow(identity)), ("b", Borrow(identity)))
    assert component.exports[""].functions["pass"].result == Own(identity)
    assert await component.call(component.export("", "both"), [4], None, deadline=soon()) == 4
    assert seen[0] is seen[1]
    assert dropped == [seen[0]]


async def test_a_host_resource_passes_through_a_component(engine: Engine) -> None:
    seen: list[Any] = []
    dropped: list[Any] = []
    component = await linked(engine, read_component("shared-resource"), *shared(seen, dropped))
    thing = Thing(8)
    assert await component.call(component.export("", "pass"), [thing], None, deadline=soon()) is thing
    assert dropped == []


async def test_a_host_resource_is_lent_for_one_call(engine: Engine) -> None:
    seen: list[Any] = []
    dropped: list[Any] = []
    component = await linked(engine, read_component("shared-resource"), *shared(seen, dropped))
    sandbox = await component.sandbox(None, deadline=soon())
    thing = Thing(8)
    for _ in range(3):
        assert await sandbox.call(component.export("", "lent"), [thing], soon()) == 8
    assert seen == [thing] * 6
    assert sandbox.table == {}
    sandbox.close()
    assert dropped == []
