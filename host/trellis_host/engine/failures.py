"""wasmtime's error texts as the errors of Trellis; the one place that reads them."""

from __future__ import annotations

import re

from trellis_lattice.errors import InvocationFailed, Overloaded, RequestInvalid, TrellisError

__all__ = ["call_failure", "does_not_fit", "load_failure"]

_POOL_FULL = re.compile(r"maximum concurrent .*limit|maximum concurrent limit of \d+|Cannot allocate memory")
_TOO_BIG = re.compile(
    r"exceeds the (?:per-instance |configured |total )?(?:maximum|limit)|exceeds (?:the )?limit"
    r"|exceeding the configured|requires .* which exceeds|minimum size .*exceeds|instance allocation .*requires"
    r"|per-instance limit|total tables limit|implementation limit"
)
_FRAME = re.compile(r"^\s*\d+:\s+(?:0x[0-9a-f]+ - )?(.+)$")


def does_not_fit(text: str) -> bool:
    """Whether a component was refused because it is larger than a place of the pool."""
    return _TOO_BIG.search(text) is not None


def call_failure(text: str, component: str, interface: str, function: str) -> TrellisError:
    """What a failed instantiation or call means."""
    if _POOL_FULL.search(text):
        return Overloaded(
            f"No place is left for another sandbox of {component}.",
            remedy="Try again when running invocations have ended, or raise max_in_flight.",
            retry_after=0.1,
        )
    trap, backtrace = _read_trap(text)
    where = f"{interface}.{function}" if interface else function
    return InvocationFailed(
        f"Component {component} failed in {where}: {trap}.",
        component=component,
        interface=interface,
        function=function,
        trap=trap,
        backtrace=backtrace,
    )


def _read_trap(text: str) -> tuple[str, list[str]]:
    """The innermost cause, and the frames of the wasm backtrace, innermost first."""
    head, _, causes = text.partition("Caused by:")
    lines = [line.strip() for line in (causes or head).splitlines() if line.strip()]
    trap = lines[-1] if lines else "unknown trap"
    if not causes:
        lines = [line for line in lines if not _FRAME.match(line)]
        trap = lines[0] if lines else "unknown trap"
    trap = re.sub(r"^\d+:\s+", "", trap).removeprefix("wasm trap: ").rstrip(".")
    frames = [match.group(1).strip() for line in head.splitlines() if (match := _FRAME.match(line))]
    return trap, frames[:64]


def load_failure(text: str) -> TrellisError:
    """What a failed compilation means: bytes with the right beginning that are not a valid component."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
    causes = [line.strip() for line in text.partition("Caused by:")[2].splitlines() if line.strip()]
    reason = re.sub(r"^\d+:\s+", "", causes[-1]) if causes else first
    if "unexpected end" in text or "unexpected-eof" in text or "unexpected eof" in text:
        return RequestInvalid(
            f"The component is truncated or damaged: {reason}.", remedy="Copy the file again, or build it again."
        )
    return RequestInvalid(
        f"The file begins like a component but is not a valid one: {reason}.",
        remedy="Build it again with a toolchain for WASI 0.2, and check that the file was copied whole.",
    )
