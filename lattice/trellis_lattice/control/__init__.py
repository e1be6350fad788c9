"""The control plane's operations, one declaration each, in a file per noun (lattice-protocol 1).

`OPERATIONS` lists them by (noun, verb); `subscriptions` says what a host listens to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trellis_lattice import subjects
from trellis_lattice.control import claims, component, config, host, label, link, parts, provider, registry
from trellis_lattice.control.envelope import CtlResponse
from trellis_lattice.control.operation import Answerers, Argument, ControlOperation

__all__ = ["OPERATIONS", "Answerers", "Argument", "ControlOperation", "CtlResponse", "find", "subscriptions"]

_ALL: tuple[ControlOperation[Any, Any], ...] = (
    host.PING,
    host.GET,
    host.STOP,
    host.STAYS,
    parts.PART,
    label.PUT,
    label.DEL,
    component.AUCTION,
    component.SCALE,
    component.UPDATE,
    component.PREPARE,
    provider.AUCTION,
    provider.START,
    provider.STOP,
    link.PUT,
    link.DEL,
    link.GET,
    config.PUT,
    config.GET,
    config.DEL,
    claims.GET,
    registry.PUT,
)

OPERATIONS: Mapping[tuple[str, str], ControlOperation[Any, Any]] = {(op.noun, op.verb): op for op in _ALL}


def find(subject: subjects.ControlSubject) -> ControlOperation[Any, Any] | None:
    """The operation that a subject asks for; None if there is none such."""
    operation = OPERATIONS.get((subject.noun, subject.verb))
    if operation is None or (subject.argument is None) is not (operation.argument is Argument.NONE):
        return None
    return operation


def subscriptions(lattice: str, host_id: str, *, prefix: str = subjects.CONTROL_PREFIX) -> list[tuple[str, str]]:
    """(subject, queue group or empty) of everything a host listens to (lattice-protocol 1.2)."""
    root = f"{prefix}.v1.{subjects.check_lattice(lattice)}"
    subjects.check_id(host_id, "host id")
    return [
        (f"{root}.registry.put", ""),
        (f"{root}.host.ping", ""),
        (f"{root}.component.auction", ""),
        (f"{root}.provider.auction", ""),
        *((f"{root}.{noun}.*.{host_id}", "") for noun in ("component", "provider", "label", "host")),
        (f"{root}.link.*", f"{root}.link"),
        (f"{root}.claims.get", f"{root}.claims"),
        (f"{root}.config.>", f"{root}.config"),
    ]
