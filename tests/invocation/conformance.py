"""What every `Invoker` in front of every `Service` must do. Subclasses say how the two are connected (`rig`)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from trellis_lattice import http
from trellis_lattice.errors import (
    ConfigError,
    Conflict,
    DeadlineExceeded,
    Denied,
    InvocationFailed,
    NotFound,
    RequestInvalid,
    TrellisError,
)
from trellis_lattice.http import HttpRequest, HttpResponse
from trellis_lattice.invocation.api import Call, Invoker
from trellis_lattice.streams import BytesBody, Pipe, read_all
from trellis_lattice.wit import Case, Err, FuncType, ListType, Ok, Option, Primitive, Result, Variant

STRING = Primitive.STRING
BYTES = ListType(Primitive.U8)
ERROR = Variant((("other", STRING),))

Handler = Callable[[Call], Awaitable[Any]]


class Scripted:
    """A service of given functions: name → (type, handler)."""

    def __init__(self, functions: dict[str, tuple[FuncType, Handler]]) -> None:
        self.functions = functions
        self.calls: list[Call] = []

    def function_type(self, interface: str, function: str) -> FuncType:
        if function not in self.functions:
            raise NotFound(f"{interface} has no function {function!r}; it has {', '.join(self.functions)}.")
        return self.functions[function][0]

    async def serve(self, call: Call) -> Any:
        self.calls.append(call)
        return await self.functions[call.function][1](call)


@dataclass
class Rig:
    """A service, and an invoker that reaches it as `target`."""

    invoker: Invoker
    service: Scripted
    target: str = "target"

    async def call(self, function: str, *args: Any, timeout: float = 10.0, **options: Any) -> Any:
        type_ = self.service.functions[function][0] if function in self.service.functions else FuncType(())
        return await self.invoker.invoke(self.make(function, type_, *args, timeout=timeout, **options))

    def make(self, function: str, type: FuncType, *args: Any, timeout: float = 10.0, **options: Any) -> Call:
        deadline = asyncio.get_running_loop().time() + timeout
        return Call(self.target, "a:b/c@1.0.0", function, args, type, deadline, "caller", **options)


RigMaker = Callable[[dict[str, tuple[FuncType, Handler]]], Awaitable[Rig]]


async def _echo(call: Call) -> Any:
    return call.args[0]


class InvokerContract:
    """Inherit, and supply the fixture `rig`: an awaitable maker of rigs."""

    async def test_a_result_comes_back(self, rig: RigMaker) -> None:
        connected = await rig({"echo": (FuncType((("text", STRING),), STRING), _echo)})
        assert await connected.call("echo", "hé") == "hé"
        [call] = connected.service.calls
        assert (call.target, call.interface, call.function) == ("target", "a:b/c@1.0.0", "echo")
        assert (call.source, call.link_name) == ("caller", "default")

    async def test_structured_values_keep_their_python_form(self, rig: RigMaker) -> None:
        type = FuncType((("value", Result(Option(Option(BYTES)), ERROR)),), Result(Option(Option(BYTES)), ERROR))
        connected = await rig({"echo": (type, _echo)})
        for value in (Ok(None), Err(Case("other", "x"))):
            assert await connected.call("echo", value) == value

    async def test_no_result_is_none(self, rig: RigMaker) -> None:
        async def nothing(call: Call) -> None:
            return None

        connected = await rig({"nothing": (FuncType(()), nothing)})
        assert await connected.call("nothing") is None

    @pytest.mark.parametrize(
        "error",
        [
            RequestInvalid("wrong", path=".x"),
            NotFound("no such key", remedy="Make one.", key="a"),
            Conflict("changed meanwhile", revision=3),
            Denied("not granted"),
            InvocationFailed("trapped", component="c", trap="unreachable", backtrace="…"),
            ConfigError("missing", key="k"),
            DeadlineExceeded("further on"),
        ],
        ids=lambda error: error.code,
    )
    async def test_errors_keep_class_text_and_fields(self, rig: RigMaker, error: TrellisError) -> None:
        async def fail(call: Call) -> None:
            raise error

        connected = await rig({"fail": (FuncType(()), fail)})
        with pytest.raises(type(error)) as caught:
            await connected.call("fail")
        assert (caught.value.message, caught.value.remedy) == (error.message, error.remedy)
        assert caught.value.fields == error.fields

    async def test_an_unknown_function_is_not_found(self, rig: RigMaker) -> None:
        connected = await rig({"echo": (FuncType((("text", STRING),), STRING), _echo)})
        with pytest.raises(NotFound, match="it has echo"):
            await connected.call("other")
        assert connected.service.calls == []

    async def test_the_deadline_ends_caller_and_callee(self, rig: RigMaker) -> None:
        ended = asyncio.Event()

        async def wait(call: Call) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        connected = await rig({"wait": (FuncType(()), wait)})
        with pytest.raises(DeadlineExceeded):
            await connected.call("wait", timeout=0.05)
        await ended.wait()

    async def test_a_passed_deadline_starts_nothing(self, rig: RigMaker) -> None:
        connected = await rig({"echo": (FuncType((("text", STRING),), STRING), _echo)})
        with pytest.raises(DeadlineExceeded):
            await connected.call("echo", "x", timeout=-1.0)
        assert connected.service.calls == []

    async def test_a_cancelled_caller_cancels_the_callee(self, rig: RigMaker) -> None:
        started, ended = asyncio.Event(), asyncio.Event()

        async def wait(call: Call) -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        connected = await rig({"wait": (FuncType(()), wait)})
        calling = asyncio.create_task(connected.call("wait"))
        await started.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await ended.wait()

    async def test_many_calls_are_in_flight_at_once(self, rig: RigMaker) -> None:
        waiting, all_here = [], asyncio.Event()

        async def meet(call: Call) -> str:
            waiting.append(call)
            if len(waiting) == 200:
                all_here.set()
            await all_here.wait()
            return str(call.args[0])

        connected = await rig({"meet": (FuncType((("text", STRING),), STRING), meet)})
        answers = await asyncio.gather(*(connected.call("meet", str(number)) for number in range(200)))
        assert answers == [str(number) for number in range(200)]

    async def test_values_larger_than_a_message(self, rig: RigMaker) -> None:
        connected = await rig({"echo": (FuncType((("data", BYTES),), BYTES), _echo)})
        data = bytes(range(256)) * 8 * 1024
        assert await connected.call("echo", data) == data

    # HTTP exchanges

    async def test_a_short_http_exchange(self, rig: RigMaker) -> None:
        async def handle(call: Call) -> HttpResponse:
            [request] = call.args
            body = await read_all(request.body, 1000)
            return HttpResponse(201, [("content-type", b"text/plain"), *request.headers], BytesBody(b"<" + body + b">"))

        connected = await rig({"handle": (http.HANDLE_TYPE, handle)})
        request = HttpRequest("POST", "/a?b=c", "http", "localhost", [("x", b"\xff")], BytesBody(b"hello"))
        response = await connected.call("handle", request)
        assert (response.status, response.headers) == (201, [("content-type", b"text/plain"), ("x", b"\xff")])
        assert await read_all(response.body, 1000) == b"<hello>"
        assert connected.service.calls[0].args[0].path_with_query == "/a?b=c"

    async def test_an_http_error_code_is_an_err(self, rig: RigMaker) -> None:
        async def handle(call: Call) -> Err[Case]:
            return Err(Case("internal-error", "no"))

        connected = await rig({"handle": (http.HANDLE_TYPE, handle)})
        assert await connected.call("handle", HttpRequest("GET", "/", None, None)) == Err(Case("internal-error", "no"))

    async def test_bodies_stream_both_ways_while_the_callee_runs(self, rig: RigMaker) -> None:
        running: list[asyncio.Task[None]] = []

        async def handle(call: Call) -> HttpResponse:
            answer = Pipe(16 * 1024)

            async def copy() -> None:
                body = call.args[0].body
                while chunk := await body.read(10_000):
                    await answer.drain()
                    answer.write(chunk)
                answer.end(await body.trailers())

            running.append(asyncio.create_task(copy()))
            return HttpResponse(200, [], answer)

        connected = await rig({"handle": (http.HANDLE_TYPE, handle)})
        body = Pipe(16 * 1024)
        response = await connected.call("handle", HttpRequest("POST", "/", None, None, [], body))
        sent, received = 0, 0

        async def send() -> None:
            nonlocal sent
            for number in range(200):
                await body.drain()
                body.write(bytes([number]) * 5000)
                sent += 5000
            body.end([("checksum", b"abc")])

        sending = asyncio.create_task(send())
        while chunk := await response.body.read(8192):
            received += len(chunk)
        await sending
        assert received == sent == 1_000_000
        assert await response.body.trailers() == [("checksum", b"abc")]
        await asyncio.gather(*running)

    async def test_a_slow_reader_holds_the_writer_back(self, rig: RigMaker) -> None:
        pipe = Pipe(64 * 1024)
        written = 0
        idle = asyncio.Event()

        async def write() -> None:
            nonlocal written
            while not pipe.reader_gone and written < 10_000_000:
                while pipe.room and written < 10_000_000:
                    pipe.write(bytes(1000))
                    written += 1000
                idle.set()
                await pipe.drain()

        async def handle(call: Call) -> HttpResponse:
            return HttpResponse(200, [], pipe)

        connected = await rig({"handle": (http.HANDLE_TYPE, handle)})
        writing = asyncio.create_task(write())
        await idle.wait()
        response = await connected.call("handle", HttpRequest("GET", "/", None, None))
        assert await response.body.read(1000)
        assert written < 2_000_000
        await response.body.aclose()
        await writing
        assert pipe.reader_gone
        assert written < 2_000_000

    async def test_an_error_in_a_body_reaches_its_reader_after_the_bytes(self, rig: RigMaker) -> None:
        pipe = Pipe()

        async def handle(call: Call) -> HttpResponse:
            return HttpResponse(200, [], pipe)

        connected = await rig({"handle": (http.HANDLE_TYPE, handle)})
        response = await connected.call("handle", HttpRequest("GET", "/", None, None))
        pipe.write(b"first")
        assert await response.body.read(100) == b"first"
        pipe.end(error=InvocationFailed("trapped in the middle", trap="unreachable"))
        with pytest.raises(InvocationFailed, match="trapped in the middle"):
            await response.body.read(100)

    async def test_a_body_that_nobody_reads_is_told_so(self, rig: RigMaker) -> None:
        async def handle(call: Call) -> HttpResponse:
            await call.args[0].body.aclose()
            return HttpResponse(204)

        connected = await rig({"handle": (http.HANDLE_TYPE, handle)})
        body = Pipe(1024)
        body.write(bytes(1024))
        response = await connected.call("handle", HttpRequest("POST", "/", None, None, [], body))
        assert response.status == 204
        while not body.reader_gone:
            await body.changed()
