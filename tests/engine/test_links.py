"""How imports find those who answer them, and exports those who call."""

from __future__ import annotations

from typing import Any

import pytest
import wasmtime

from trellis_host.engine import Engine, HostInterface, HostResource
from trellis_host.engine.imports import _tables
from trellis_lattice.errors import NotFound, RequestInvalid
from trellis_lattice.names import InterfaceName
from trellis_lattice.wit.types import InterfaceType, Own, Primitive, ResourceId

from .conftest import read_component
from .host_calls import Context, calls, host_calls
from .support import interface, linked, resolver, soon

DRAFT = """(component
  (import "test:host/pre@0.2.0-draft" (instance $h (export "f" (func (result u32)))))
  (alias export $h "f" (func $f))
  (core func $f (canon lower (func $f)))
  (core module $m (import "h" "f" (func $f (result i32))) (func (export "f") (result i32) (call $f)))
  (core instance $i (instantiate $m (with "h" (instance (export "f" (func $f))))))
  (func (export "f") (result u32) (canon lift (core func $i "f"))))"""


def pre(version: str, answer: int) -> HostInterface:
    return interface(f"test:host/pre@{version}", {"f": lambda context: answer})


async def load_text(engine: Engine, text: str) -> Any:
    return await engine.load(bytes(wasmtime.wat2wasm(text)))


async def test_an_import_is_answered_by_its_semver_track(engine: Engine) -> None:
    component = await engine.load(read_component("host-calls"))  # imports @0.1.0, the host has 0.1.3
    assert list(component.imports) == ["test:host/calls@0.1.0"]
    asked: list[tuple[InterfaceName, InterfaceType]] = []

    def resolve(wanted: InterfaceName, type: InterfaceType) -> HostInterface | None:
        asked.append((wanted, type))
        return calls()

    linked_component = component.link(resolve)
    assert asked == [(InterfaceName.parse("test:host/calls@0.1.0"), component.imports["test:host/calls@0.1.0"])]
    assert await linked_component.call(linked_component.export("", "now"), [1], Context(), deadline=soon()) == 2


async def test_a_pre_release_is_answered_only_by_itself(engine: Engine) -> None:
    component = await load_text(engine, DRAFT)
    with pytest.raises(NotFound, match=r"0\.2\.0-draft"):
        component.link(resolver(pre("0.2.0", 1), pre("0.2.0-draft2", 2)))
    answered = component.link(resolver(pre("0.2.0", 1), pre("0.2.0-draft", 3)))
    assert await answered.call(answered.export("", "f"), [], None, deadline=soon()) == 3


async def test_all_missing_imports_are_named_at_once(engine: Engine) -> None:
    component = await engine.load(read_component("shared-resource"))
    with pytest.raises(NotFound) as missing:
        component.link(resolver(), name="lonely")
    assert missing.value.fields["missing"] == ["test:shared/base@0.2.1", "test:shared/other@0.2.1"]
    assert "Component lonely imports what nobody here provides" in missing.value.message
    assert missing.value.remedy


async def test_a_function_or_resource_missing_in_a_provided_interface_is_named(engine: Engine) -> None:
    component = await engine.load(read_component("host-calls"))
    whole = calls()
    partial = HostInterface(
        whole.name, {name: f for name, f in whole.functions.items() if name not in ("boom", "take")}, {}
    )
    with pytest.raises(NotFound, match=r"test:host/calls@0.1.0 \(boom, take, resource thing\)"):
        component.link(resolver(partial))


async def test_an_alias_of_a_resource_need_not_be_supplied(engine: Engine) -> None:
    component = await engine.load(read_component("shared-resource"))
    other = component.imports["test:shared/other@0.2.1"]
    assert set(other.resources) == {"base-thing", "alias"}
    base = interface("test:shared/base@0.2.1", {"make": lambda context, n: n}, {"thing": HostResource("thing")})
    component.link(resolver(base, interface("test:shared/other@0.2.1", {"look": lambda context, a, b: 0})))


async def test_exports_are_found_by_track_and_named_when_not(engine: Engine) -> None:
    component = await linked(engine, read_component("greet"))
    for name in ("demo:greet/greeter@1.2.0", "demo:greet/greeter@1.0.5", "demo:greet/greeter"):
        export = component.export(name, "greet")
        assert (export.interface, export.function) == ("demo:greet/greeter@1.2.0", "greet")
        assert export.type.result is Primitive.STRING
        assert str(export) == "demo:greet/greeter@1.2.0.greet"
        assert component.export(name, "greet") is export
    with pytest.raises(NotFound, match=r"does not export interface demo:greet/greeter@2.0.0") as missing:
        component.export("demo:greet/greeter@2.0.0", "greet")
    assert missing.value.remedy == "It exports: demo:greet/greeter@1.2.0."
    with pytest.raises(NotFound, match="has no function wave") as missing:
        component.export("demo:greet/greeter", "wave")
    assert missing.value.remedy == "It has: greet, sum."
    with pytest.raises(NotFound, match="does not export interface nonsense"):
        component.export("nonsense", "greet")
    with pytest.raises(NotFound, match=r"functions of the root"):
        component.export("", "greet")


async def test_types_are_wit_shaped(engine: Engine) -> None:
    component = await engine.load(read_component("own-resources"))
    exported = component.exports["test:own/counters@1.2.3"]
    assert exported.resources == ("counter",)
    assert exported.functions["make"].result == Own(ResourceId("test:own/counters", "counter"))
    assert exported.functions["make"].params == (("n", Primitive.U32),)
    assert component.imports == {}


async def test_a_component_can_be_linked_more_than_once(engine: Engine) -> None:
    component = await load_text(engine, DRAFT)
    answers = []
    for number in range(3):
        one = component.link(resolver(pre("0.2.0-draft", number)))
        answers.append(await one.call(one.export("", "f"), [], None, deadline=soon()))
    assert answers == [0, 1, 2]


async def test_a_linked_component_gives_back_its_numbers(engine: Engine) -> None:
    for _ in range(3):
        await host_calls(engine)
    size = len(_tables)
    for _ in range(20):
        await host_calls(engine)
    assert len(_tables) == size


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('(component (import "whole" (component)))', "component imports are not supported"),
        ('(component (import "whole" (core module)))', "imports 'whole', which is a whole component or core module"),
    ],
)
async def test_a_component_that_imports_a_component_is_refused(engine: Engine, text: str, complaint: str) -> None:
    with pytest.raises(RequestInvalid, match=complaint):
        await load_text(engine, text)
