"""`wasi:cli`: environment, exit, stdin, stdout, stderr and the terminals, of which there are none."""

from __future__ import annotations

from typing import Any

from trellis_host.engine.api import HostFunction, HostInterface, HostResource
from trellis_host.wasi.context import ComponentExited, WasiContext
from trellis_host.wasi.io import INPUT_STREAM, OUTPUT_STREAM
from trellis_host.wasi.streams import InputStream, LogStream
from trellis_host.wasi.version import named
from trellis_lattice.streams import Pipe
from trellis_lattice.wit.values import Err, Ok

__all__ = ["CLI"]

_TERMINAL_INPUT = HostResource("terminal-input")
_TERMINAL_OUTPUT = HostResource("terminal-output")


def _environment(context: WasiContext) -> list[tuple[str, str]]:
    return list(context.settings.environment.items())


def _arguments(context: WasiContext) -> list[str]:
    return list(context.settings.arguments)


def _initial_cwd(context: WasiContext) -> None:
    return None


def _exit(context: WasiContext, status: Ok[Any] | Err[Any]) -> None:
    _exit_with_code(context, 0 if isinstance(status, Ok) else 1)


def _exit_with_code(context: WasiContext, status: int) -> None:
    component = context.settings.component
    raise ComponentExited(
        f"Component {component!r} ended its invocation by calling exit with status {status}.",
        component=component,
        status=status,
    )


def _stdin(context: WasiContext) -> InputStream:
    nothing = Pipe()
    nothing.end()
    return InputStream(nothing)


def _stdout(context: WasiContext) -> LogStream:
    return LogStream(context.log.writer("stdout", "info"))


def _stderr(context: WasiContext) -> LogStream:
    return LogStream(context.log.writer("stderr", "warn"))


def _no_terminal(context: WasiContext) -> None:
    return None


def _single(interface: str, function: str, call: HostFunction, resource: str, type: HostResource) -> HostInterface:
    return HostInterface(named("cli", interface), {function: call}, {resource: type})


CLI: tuple[HostInterface, ...] = (
    HostInterface(
        named("cli", "environment"),
        {
            "get-environment": HostFunction(_environment),
            "get-arguments": HostFunction(_arguments),
            "initial-cwd": HostFunction(_initial_cwd),
        },
    ),
    HostInterface(named("cli", "exit"), {"exit": HostFunction(_exit), "exit-with-code": HostFunction(_exit_with_code)}),
    _single("stdin", "get-stdin", HostFunction(_stdin), "input-stream", INPUT_STREAM),
    _single("stdout", "get-stdout", HostFunction(_stdout), "output-stream", OUTPUT_STREAM),
    _single("stderr", "get-stderr", HostFunction(_stderr), "output-stream", OUTPUT_STREAM),
    HostInterface(named("cli", "terminal-input"), {}, {"terminal-input": _TERMINAL_INPUT}),
    HostInterface(named("cli", "terminal-output"), {}, {"terminal-output": _TERMINAL_OUTPUT}),
    _single("terminal-stdin", "get-terminal-stdin", HostFunction(_no_terminal), "terminal-input", _TERMINAL_INPUT),
    _single("terminal-stdout", "get-terminal-stdout", HostFunction(_no_terminal), "terminal-output", _TERMINAL_OUTPUT),
    _single("terminal-stderr", "get-terminal-stderr", HostFunction(_no_terminal), "terminal-output", _TERMINAL_OUTPUT),
)
