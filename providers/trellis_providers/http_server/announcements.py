"""Announcements of routes as bytes (docs/protocol.md, "Routes"). Pure.

The laws of this file: what was encoded is decoded to the same; anything else is None and never raises; keys that
are not known are passed over, keys that are missing have their defaults.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, TypeGuard

from trellis_lattice.errors import RequestInvalid

from .claims import Announcement, Claim
from .config import LinkSettings
from .cors import Cors
from .routes import Route

__all__ = ["MAX_ANNOUNCEMENT", "decode", "encode"]

MAX_ANNOUNCEMENT = 512 * 1024
"""Bytes: half of what NATS takes by default; some two thousand routes."""
_MAX_NUMBER = 2**53
_BARE = LinkSettings(("", 0), None, None)
_PLAIN = tuple(
    each.name for each in dataclasses.fields(LinkSettings) if each.name not in ("address", "host", "path", "cors")
)
_CORS_LISTS = ("origins", "headers", "methods", "exposed")


def encode(said: Announcement, limit: int = MAX_ANNOUNCEMENT) -> bytes:
    """`limit` in bytes. Raises `RequestInvalid` if there are too many routes."""
    wire: dict[str, Any] = {"member": said.member, "revision": said.revision}
    if said.claims is not None:
        wire["routes"] = [_claim(claim) for claim in said.claims]
    if said.peers:
        wire["peers"] = said.peers
    if said.leaving:
        wire["leaving"] = True
    payload = json.dumps(wire, separators=(",", ":")).encode()
    if len(payload) > limit:
        raise RequestInvalid(
            f"The {len(said.claims or ())} routes of this address are more than hosts can tell each other.",
            remedy="Use another address for some of them, or prefixes such as /api/*.",
            size=len(payload),
            limit=limit,
        )
    return payload


def decode(payload: bytes, address: tuple[str, int]) -> Announcement | None:
    """`address`: what the socket of the announcement is called here."""
    try:
        wire = json.loads(payload) if len(payload) <= MAX_ANNOUNCEMENT else None
        return _announcement(wire, address)
    except (ValueError, RecursionError):
        return None


def _claim(claim: Claim) -> dict[str, Any]:
    route, settings = claim.route, claim.route.settings
    wire: dict[str, Any] = {"link": route.key, "since": claim.since}
    if route.header != "host":
        wire["header"] = route.header
    for name in ("host", "path", *_PLAIN):
        if getattr(settings, name) != getattr(_BARE, name):
            wire[name] = getattr(settings, name)
    if settings.cors is not None:
        wire["cors"] = {name: value for name, value in dataclasses.asdict(settings.cors).items() if value is not None}
    return wire


def _announcement(said: object, address: tuple[str, int]) -> Announcement:
    """Raises `ValueError` for what is none."""
    wire = _checked(said, Mapping)
    claims = None
    if "routes" in wire:
        claims = tuple(_read_claim(_checked(each, Mapping), address) for each in _checked(wire["routes"], list))
    return Announcement(
        _checked(wire.get("member"), str),
        _number(wire.get("revision")),
        claims,
        _texts(wire.get("peers", [])),
        wire.get("leaving", False) is True,
    )


def _read_claim(wire: Mapping[str, Any], address: tuple[str, int]) -> Claim:
    source, target, namespace, package, name = _texts(wire.get("link"))
    plain: dict[str, Any] = {}
    for each in _PLAIN:
        default = getattr(_BARE, each)
        value = wire.get(each, default)
        if default is None:
            plain[each] = _checked(value, str) if value is not None else None
        elif isinstance(default, float):
            plain[each] = float(_seconds(value))
        elif isinstance(default, bool):
            plain[each] = _checked(value, bool)
        else:
            plain[each] = _number(value)
    host, path = wire.get("host"), wire.get("path")
    settings = LinkSettings(
        address,
        _checked(host, str) if host is not None else None,
        _checked(path, str) if path is not None else None,
        cors=_cors(_checked(wire["cors"], Mapping)) if "cors" in wire else None,
        **plain,
    )
    key = (source, target, namespace, package, name)
    route = Route(key, target, name, settings, _checked(wire.get("header", "host"), str))
    return Claim(route, _number(wire.get("since")))


def _cors(wire: Mapping[str, Any]) -> Cors:
    age = wire.get("max_age")
    return Cors(
        **{name: _texts(wire[name]) for name in _CORS_LISTS if name in wire},
        max_age=_number(age) if age is not None else None,
    )


def _checked(value: Any, kind: type[Any]) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"not a {kind.__name__}")
    return value


def _is_number(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= _MAX_NUMBER


def _number(value: object) -> int:
    if not _is_number(value):
        raise ValueError("not a number")
    return value


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _MAX_NUMBER:
        raise ValueError("not a time")
    return value


def _texts(value: object) -> tuple[str, ...]:
    return tuple(_checked(each, str) for each in _checked(value, list))
