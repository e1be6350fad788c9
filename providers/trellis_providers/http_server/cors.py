"""Cross-origin requests of browsers (Fetch standard, "CORS protocol"). Pure.

A link that has any `cors_…` key gets this: preflights are answered here, without the component, and every other
answer to a request with an `Origin` says who may read it, unless the component has said so itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trellis_lattice.errors import ConfigError

__all__ = ["Cors", "cors_settings"]

Fields = list[tuple[bytes, bytes]]

ANY = ("*",)
_ORIGINS, _HEADERS, _METHODS = "cors_allowed_origins", "cors_allowed_headers", "cors_allowed_methods"
_EXPOSED, _MAX_AGE = "cors_exposed_headers", "cors_max_age_secs"
_KEYS = (_ORIGINS, _HEADERS, _METHODS, _EXPOSED, _MAX_AGE)


@dataclass(frozen=True, slots=True)
class Cors:
    """Who may do what from another origin; `*` alone: anybody, anything. `max_age` in seconds."""

    origins: tuple[str, ...] = ANY
    headers: tuple[str, ...] = ANY
    methods: tuple[str, ...] = ANY
    exposed: tuple[str, ...] = ()
    max_age: int | None = None

    def answer_fields(self, request: Iterable[tuple[str, bytes]]) -> Fields:
        """Fields for the answer to a request with these fields."""
        origin = _value(request, "origin")
        fields = self._origin(origin)
        if fields and self.exposed and origin is not None:
            fields.append((b"access-control-expose-headers", _listed(self.exposed)))
        return fields

    def preflight(self, method: str, request: Iterable[tuple[str, bytes]]) -> Fields | None:
        """Fields for the answer, if the request is one that a browser sends beforehand."""
        asked = _value(request, "access-control-request-method")
        origin = _value(request, "origin")
        if method != "OPTIONS" or asked is None or origin is None:
            return None
        fields = self._origin(origin)
        if not self._allows(origin):
            return fields
        # `*` does not cover Authorization, nor requests with credentials: what was asked for is named instead.
        methods = asked if self.methods == ANY else _listed(self.methods)
        headers = _value(request, "access-control-request-headers") if self.headers == ANY else _listed(self.headers)
        fields.append((b"access-control-allow-methods", methods))
        if headers:
            fields.append((b"access-control-allow-headers", headers))
        if self.max_age is not None:
            fields.append((b"access-control-max-age", b"%d" % self.max_age))
        return fields

    def _allows(self, origin: bytes) -> bool:
        return self.origins == ANY or origin.decode("latin-1").lower() in self.origins

    def _origin(self, origin: bytes | None) -> Fields:
        if self.origins == ANY:
            return [(b"access-control-allow-origin", b"*")]
        # The answer differs by origin, also for caches: that is said even where the origin is not allowed.
        vary = (b"vary", b"origin")
        return [(b"access-control-allow-origin", origin), vary] if origin and self._allows(origin) else [vary]


def cors_settings(config: Mapping[str, str]) -> Cors | None:
    """None without any `cors_…` key. Raises `ConfigError` naming key and value."""
    for key in config:
        if key.startswith("cors_") and key not in _KEYS:
            raise ConfigError(f"{key} is unknown.", remedy=f"There are {', '.join(_KEYS)}.", key=key)
    if not any(key in config for key in _KEYS):
        return None
    age = config.get(_MAX_AGE)
    if age is not None and not (age.strip().isascii() and age.strip().isdecimal()):
        raise ConfigError(f"{_MAX_AGE} is {age!r}.", remedy="Write a whole number of seconds.", key=_MAX_AGE, value=age)
    return Cors(
        tuple(each.lower().rstrip("/") for each in _list(config, _ORIGINS, ANY)),
        tuple(each.lower() for each in _list(config, _HEADERS, ANY)),
        tuple(each.upper() for each in _list(config, _METHODS, ANY)),
        tuple(each.lower() for each in _list(config, _EXPOSED, ())),
        int(age) if age is not None else None,
    )


def _list(config: Mapping[str, str], key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """A JSON array of texts, as wasmCloud v1 has it."""
    text = config.get(key)
    if text is None:
        return default
    try:
        items = json.loads(text)
    except ValueError:
        items = None
    if not isinstance(items, list) or not all(_sound(item) for item in items):
        raise ConfigError(f"{key} is {text!r}.", remedy='Write a JSON array such as ["a", "b"].', key=key, value=text)
    return ANY if "*" in items else tuple(items)


def _sound(item: object) -> bool:
    """Whether it may stand in a list in a header field."""
    return isinstance(item, str) and item.isascii() and item.isprintable() and item != "" and "," not in item


def _listed(items: tuple[str, ...]) -> bytes:
    return ", ".join(items).encode()


def _value(fields: Iterable[tuple[str, bytes]], name: str) -> bytes | None:
    return next((value for key, value in fields if key == name), None)
