"""One provider, hosted: its functions, its links, its failures, its resources, its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from trellis_lattice.errors import (
    ConfigError,
    Denied,
    InvocationFailed,
    NotFound,
    RequestInvalid,
    TrellisError,
    Unavailable,
)
from trellis_lattice.invocation.api import Call, Handle
from trellis_lattice.wit import types as wit
from trellis_lattice.wit.types import FuncType, Primitive
from trellis_lattice.wit.values import Ok
from trellis_provider_sdk import (
    Err,
    Health,
    Provider,
    ProviderLink,
    ProviderRunner,
    Resource,
    constructor,
    current_call,
    describe,
    function,
    provides,
    static,
    u32,
)
from trellis_provider_sdk.testing import FakeContext

from .conftest import Components

GREETER = "acme:greet/greeter@1.2.0"


@provides(GREETER)
class Greeter(Provider):
    def __init__(self) -> None:
        self.events: list[object] = []

    async def start(self, ctx: Any) -> None:
        self.events.append("start")

    async def stop(self) -> None:
        self.events.append("stop")

    async def drain(self, grace: float) -> None:
        self.events.append(("drain", grace))

    async def link_put(self, link: ProviderLink) -> None:
        if "refuse" in link.target_config:
            raise ConfigError("refused")
        if "break" in link.target_config:
            raise KeyError("bug")
        self.events.append(("put", link))

    async def link_delete(self, link: ProviderLink) -> None:
        self.events.append(("delete", link))

    async def config_changed(self, config: Mapping[str, str]) -> None:
        self.events.append(dict(config))

    async def hello_there(self, name: str, times: u32) -> str:
        return self._greet(name) * times

    async def whoami(self) -> str:
        call = current_call()
        return f"{call.source}/{call.link_name}/{call.config.get('suffix', '-')}/{call.function}"

    async def fail(self, how: str) -> Ok[str] | Err[str]:
        match how:
            case "answer":
                return Err("no")
            case "denied":
                raise Denied("not you")
            case "bug":
                raise ZeroDivisionError("secret details")
        return Ok(3)  # type: ignore[arg-type]

    async def nothing(self) -> None:
        pass

    def _greet(self, name: str) -> str:
        return f"Hello, {name}! "


class Counter(Resource, interface="acme:count/counters"):
    def __init__(self, start: int) -> None:
        self.value = start
        self.closed = 0

    async def add(self, by: u32) -> u32:
        self.value += by
        return self.value

    async def close(self) -> None:
        self.closed += 1


@provides("acme:count/counters@0.1.0", "acme:count/admin@0.1.0")
class Counters(Provider):
    @constructor(Counter)
    async def make(self, start: u32) -> Counter:
        return Counter(start)

    @static(Counter)
    async def sum_of(self, one: Counter, other: Counter) -> Ok[Counter] | Err[str]:
        return Ok(Counter(one.value + other.value))

    @function("reset-all", interface="acme:count/admin")
    async def reset(self) -> None:
        pass


def runner_of(provider: Provider) -> ProviderRunner:
    return ProviderRunner(provider, FakeContext("app-greeter", Components()))


async def call(runner: ProviderRunner, interface: str, name: str, *args: Any, source: str = "app") -> Any:
    type = runner.function_type(interface, name)
    return await runner.serve(Call("app-greeter", interface, name, args, type, _soon(), source))


def _soon() -> float:
    return asyncio.get_running_loop().time() + 5


def link(source: str = "app", **config: str) -> ProviderLink:
    return ProviderLink(source, "app-greeter", "default", "acme", "greet", ("greeter",), {}, config)


def test_a_class_describes_itself() -> None:
    (greeter,) = describe(Greeter).values()
    assert greeter.name == GREETER
    assert greeter.functions["hello-there"] == FuncType(
        (("name", Primitive.STRING), ("times", Primitive.U32)), Primitive.STRING
    )
    assert greeter.functions["nothing"] == FuncType(())
    assert sorted(greeter.functions) == ["fail", "hello-there", "nothing", "whoami"]


def test_resources_and_several_interfaces_are_described() -> None:
    described = describe(Counters)
    assert sorted(described) == ["acme:count/admin@0.1.0", "acme:count/counters@0.1.0"]
    counters = described["acme:count/counters@0.1.0"]
    counter = wit.ResourceId("acme:count/counters", "counter")
    assert counters.resources == ("counter",)
    assert counters.functions == {
        "[constructor]counter": FuncType((("start", Primitive.U32),), wit.Own(counter)),
        "[static]counter.sum-of": FuncType(
            (("one", wit.Borrow(counter)), ("other", wit.Borrow(counter))),
            wit.Result(wit.Own(counter), Primitive.STRING),
        ),
        "[method]counter.add": FuncType((("self", wit.Borrow(counter)), ("by", Primitive.U32)), Primitive.U32),
    }
    assert list(described["acme:count/admin@0.1.0"].functions) == ["reset-all"]


@pytest.mark.parametrize("interface", [GREETER, "acme:greet/greeter", "acme:greet/greeter@1.0.0"])
async def test_calls_are_answered_for_the_whole_version_track(interface: str) -> None:
    assert await call(runner_of(Greeter()), interface, "hello-there", "Ada", 2) == "Hello, Ada! Hello, Ada! "


@pytest.mark.parametrize(
    ("interface", "name", "known"),
    [
        ("acme:greet/greeter@2.0.0", "whoami", "acme:greet/greeter@1.2.0"),
        ("acme:greet/other", "whoami", "acme:greet/greeter@1.2.0"),
        (GREETER, "hello_there", "hello-there"),
        (GREETER, "start", "whoami"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(interface: str, name: str, known: str) -> None:
    with pytest.raises(NotFound) as missing:
        runner_of(Greeter()).function_type(interface, name)
    assert known in str(missing.value)


async def test_a_call_knows_where_it_came_from() -> None:
    runner = runner_of(Greeter())
    await runner.link_put(link(suffix="one"))
    assert await call(runner, GREETER, "whoami") == "app/default/one/whoami"
    assert await call(runner, GREETER, "whoami", source="trellis-cli") == "trellis-cli/default/-/whoami"
    await runner.link_put(link(suffix="two"))
    assert await call(runner, GREETER, "whoami") == "app/default/two/whoami"
    await runner.link_delete(link().key)
    assert await call(runner, GREETER, "whoami") == "app/default/-/whoami"
    with pytest.raises(TrellisError, match="only while"):
        current_call()


async def test_calls_at_the_same_time_do_not_mix() -> None:
    runner = runner_of(Greeter())
    answers = await asyncio.gather(*(call(runner, GREETER, "whoami", source=f"s{n}") for n in range(20)))
    assert answers == [f"s{n}/default/-/whoami" for n in range(20)]


async def test_answers_and_errors_pass_bugs_do_not(caplog: pytest.LogCaptureFixture) -> None:
    runner = runner_of(Greeter())
    assert await call(runner, GREETER, "fail", "answer") == Err("no")
    with pytest.raises(Denied, match="not you"):
        await call(runner, GREETER, "fail", "denied")
    for how, reason in (("bug", "secret details"), ("type", "expected string, got int")):
        with pytest.raises(InvocationFailed) as failed:
            await call(runner, GREETER, "fail", how)
        assert "app-greeter" in failed.value.message
        assert reason not in str(failed.value)
        assert failed.value.__cause__ is None
        assert reason in caplog.text


async def test_a_life_in_order() -> None:
    greeter = Greeter()
    runner = runner_of(greeter)
    await runner.start()
    await runner.link_put(link(a="1"))
    await runner.link_put(link(a="1"))
    await runner.link_put(link(a="2"))
    await runner.config_changed({"x": "y"})
    await runner.link_delete(link().key)
    await runner.link_delete(link().key)
    await runner.stop(2.5)
    await runner.stop()
    assert greeter.events == [
        "start",
        ("put", link(a="1")),
        ("put", link(a="2")),
        {"x": "y"},
        ("delete", link(a="2")),
        ("drain", 2.5),
        "stop",
    ]


async def test_a_refused_link_is_not_in_force() -> None:
    runner = runner_of(Greeter())
    with pytest.raises(ConfigError):
        await runner.link_put(link(refuse=""))
    with pytest.raises(InvocationFailed, match="link_put"):
        await runner.link_put(link(**{"break": ""}))
    assert runner.links == ()


class Broken(Provider):
    def __init__(self) -> None:
        self.stopped = 0

    async def start(self, ctx: Any) -> None:
        raise OSError("no disk")

    async def stop(self) -> None:
        self.stopped += 1
        raise OSError("still no disk")

    async def health(self) -> Health:
        raise OSError("ill")


async def test_a_start_that_fails_gives_back_what_it_took(caplog: pytest.LogCaptureFixture) -> None:
    broken = Broken()
    runner = runner_of(broken)
    with caplog.at_level(logging.WARNING), pytest.raises(InvocationFailed, match="start"):
        await runner.start()
    assert broken.stopped == 1
    assert not (await runner.health()).healthy


async def test_resources_live_until_released() -> None:
    runner = runner_of(Counters())
    counters = "acme:count/counters@0.1.0"
    counter = await call(runner, counters, "[constructor]counter", 3)
    assert isinstance(counter, Counter)
    assert await call(runner, counters, "[method]counter.add", counter, 4) == 7
    total = await call(runner, counters, "[static]counter.sum-of", counter, counter)
    assert total.value.value == 14
    for _ in range(2):
        runner.release(counter)
    await runner.stop()
    assert (counter.closed, total.value.closed) == (1, 1)


async def test_a_handle_of_a_dead_resource_says_so() -> None:
    runner = runner_of(Counters())
    handle = Handle("instance-9", "1", "acme:count/counters.counter")
    with pytest.raises(Unavailable, match="does not live here"):
        await call(runner, "acme:count/counters", "[method]counter.add", handle, 1)
    with pytest.raises(RequestInvalid):
        await call(runner, "acme:count/counters", "[method]counter.add", "text", 1)


def test_what_cannot_be_provided_is_refused_when_it_is_defined() -> None:
    with pytest.raises(ConfigError, match="not the name"):
        provides("greeter")
    with pytest.raises(ConfigError, match="names no interface"):
        provides()

    class Unclear(Provider):
        async def hello(self) -> None: ...

    class Unannotated(Provider):
        async def hello(self, name) -> None: ...  # type: ignore[no-untyped-def]

    class NoReturn(Provider):
        async def hello(self, name: str): ...  # type: ignore[no-untyped-def]

    class Keywords(Provider):
        async def hello(self, *, name: str) -> None: ...

    for cls, names, reason in (
        (Unclear, ("a:b/c", "a:b/d"), "does not say which"),
        (Unannotated, ("a:b/c",), "no annotation"),
        (NoReturn, ("a:b/c",), "no return annotation"),
        (Keywords, ("a:b/c",), "not a positional"),
    ):
        with pytest.raises(ConfigError, match=reason):
            describe(provides(*names)(cls))
