"""Starts that failed for good, as they survive a change of the leader: what a host refuses is not tried again. Pure.

A refusal holds until the application is deployed again, the command changes, or its host starts anew: `boot` tells
which process of the host it was, None for a host that sends no beats.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trellis_wadm.planner.commands import ScaleComponent, StartProvider, command_key, to_json

__all__ = ["MAX_REFUSALS", "Refusal", "decode_refusals", "encode_refusals"]

MAX_REFUSALS = 128
MAX_ERROR = 500
"""Characters; what is left out stands in the events and logs of the host."""
MAX_TEXT = 8192
"""Characters of a command; together with the number above, a ledger stays well below a message's length."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A start that is not to be tried again, and why."""

    command: ScaleComponent | StartProvider
    app: str | None
    error: str
    failures: int
    final: bool
    boot: int | None = None

    @property
    def key(self) -> str:
        return command_key(self.command)


def encode_refusals(refusals: Iterable[Refusal]) -> list[dict[str, Any]]:
    """As they stand in the ledger; one with an enormous command is left out, and tried again by the next leader."""
    return [
        {
            "command": command,
            "app": refusal.app,
            "error": refusal.error,
            "failures": refusal.failures,
            "final": refusal.final,
            "boot": refusal.boot,
        }
        for refusal in refusals
        if len(str(command := to_json(refusal.command))) <= MAX_TEXT
    ][:MAX_REFUSALS]


def decode_refusals(record: object) -> tuple[Refusal, ...]:
    """What can be read of a record."""
    items = record if isinstance(record, list) else []
    return tuple(refusal for item in items[:MAX_REFUSALS] if (refusal := _decode(item)) is not None)


def _decode(item: object) -> Refusal | None:
    if not isinstance(item, Mapping):
        return None
    command, app, error, boot = _command(item.get("command")), item.get("app"), item.get("error"), item.get("boot")
    failures, final = item.get("failures"), item.get("final")
    if command is None or not isinstance(error, str) or not (app is None or isinstance(app, str)):
        return None
    if type(failures) is not int or type(final) is not bool or not (boot is None or type(boot) is int):
        return None
    return Refusal(command, app, error, failures, final, boot)


def _command(item: object) -> ScaleComponent | StartProvider | None:
    if not isinstance(item, Mapping):
        return None
    host, id, image, config = item.get("host"), item.get("id"), item.get("image"), item.get("config")
    annotations = _texts(item.get("annotations"))
    if not (isinstance(host, str) and isinstance(id, str) and isinstance(image, str)) or annotations is None:
        return None
    if not isinstance(config, list | tuple) or not all(isinstance(name, str) for name in config):
        return None
    if item.get("command") == StartProvider.__name__:
        return StartProvider(host, id, image, tuple(config), annotations)
    count, limits, update = item.get("count"), _texts(item.get("limits")), item.get("allow_update")
    if item.get("command") != ScaleComponent.__name__ or type(count) is not int or limits is None:
        return None
    return ScaleComponent(host, id, image, count, tuple(config), annotations, limits, update is True)


def _texts(item: object) -> dict[str, str] | None:
    if not isinstance(item, Mapping) or not all(isinstance(v, str) for pair in item.items() for v in pair):
        return None
    return dict(item)
