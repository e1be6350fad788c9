"""The world that a component's invocations see: configuration, log, grants and limits, from what was asked for.

Configuration is live: an invocation sees what is stored at the time it asks (lattice-protocol 3.6).
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator, Mapping

from trellis_host.engine.api import Limits
from trellis_host.runtime.shared_state import SharedState
from trellis_host.state import ComponentSpec
from trellis_host.wasi import HttpGrants, LogRecord, OutgoingClient, TaskOwner, WasiSettings
from trellis_lattice.errors import ConfigError

__all__ = ["ALLOWED_HOSTS", "ARGUMENTS", "LiveConfig", "execution_limits", "same_world", "wasi_settings"]

ALLOWED_HOSTS = "trellis.dev/allowed-hosts"
"""Annotation: to which hosts a component may send HTTP requests (docs/manifests.md)."""
ARGUMENTS = "trellis.arguments"
"""Config key: what `wasi:cli/environment.get-arguments` answers after the component's own id, quoted as in a shell."""

DEFAULT_TIMEOUT = 600.0
"""Seconds one invocation may take, as v1's default for `--max-execution-time-ms`."""

_LEVELS: Mapping[str, int] = {
    "trace": 5,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}


class LiveConfig(Mapping[str, str]):
    """Named configs laid over each other, as they are now."""

    __slots__ = ("_names", "_shared")

    def __init__(self, shared: SharedState, names: tuple[str, ...]) -> None:
        self._shared = shared
        self._names = names

    def _now(self) -> Mapping[str, str]:
        return self._shared.known_config(self._names) if self._names else {}

    def __getitem__(self, key: str) -> str:
        return self._now()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())


def wasi_settings(
    spec: ComponentSpec, shared: SharedState, *, client: OutgoingClient | None, owner: TaskOwner
) -> WasiSettings:
    """What all invocations of the component share. Raises `RequestInvalid` or `ConfigError` for what cannot be read."""
    config = LiveConfig(shared, spec.config)
    grants = spec.annotations.get(ALLOWED_HOSTS, "")
    return WasiSettings(
        component=spec.id,
        log=_log_sink(spec.id),
        config=config,
        environment=config,
        arguments=(spec.id, *_arguments(config)),
        grants=HttpGrants(host for host in grants.split(",") if host.strip()) if grants else None,
        client=client,
        owner=owner,
    )


def execution_limits(spec: ComponentSpec) -> tuple[Limits, float]:
    """Bounds of one invocation and how many seconds it may take (`component_limits` of lattice-protocol 1.5)."""
    limits = spec.limits or {}
    memory = _positive(limits, "max_memory_limit")
    timeout = _positive(limits, "max_execution_time")
    return (
        Limits(memory_bytes=memory) if memory is not None else Limits(),
        timeout / 1000 if timeout is not None else DEFAULT_TIMEOUT,
    )


def same_world(one: ComponentSpec, other: ComponentSpec) -> bool:
    """Whether invocations of both see the same world under the same bounds, slots aside."""
    return (one.config, one.limits, one.annotations.get(ALLOWED_HOSTS)) == (
        other.config,
        other.limits,
        other.annotations.get(ALLOWED_HOSTS),
    )


def _positive(limits: Mapping[str, str], key: str) -> int | None:
    text = limits.get(key)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) == 0:
        raise ConfigError(
            f"The limit {key} is {text[:64]!r}.",
            remedy="Give a whole number above 0 and below 10^18.",
            key=key,
            value=text,
        )
    return int(text)


def _arguments(config: Mapping[str, str]) -> list[str]:
    text = config.get(ARGUMENTS, "")
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"Config {ARGUMENTS} cannot be read: {error}.", key=ARGUMENTS, value=text) from None


def _log_sink(component: str) -> _Sink:
    return _Sink(logging.getLogger(f"trellis.component.{component}"))


class _Sink:
    """Turns a component's records into records of its own logger."""

    __slots__ = ("_log",)

    def __init__(self, log: logging.Logger) -> None:
        self._log = log

    def __call__(self, record: LogRecord) -> None:
        level = _LEVELS.get(record.level, logging.INFO)
        if self._log.isEnabledFor(level):
            self._log.log(level, "%s", record.message, extra={"component": record.component, "source": record.source})
