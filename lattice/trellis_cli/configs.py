"""Named configuration and references to secrets, as people give them: pairs, `.env` files, JSON. Pure.

A reference to a secret is a configuration whose name begins with `SECRET_` (lattice-protocol 3.4); people leave that
prefix out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from trellis_lattice.config import check_user_name
from trellis_lattice.errors import RequestInvalid
from trellis_lattice.subjects import check_config_name

__all__ = ["parse_file", "reference", "secret_key", "secret_name", "shown_reference"]

_PREFIX = "SECRET_"
_TYPE = "secret.wasmcloud.dev/v1alpha1"
_PROPERTIES = "properties.secret.wasmcloud.dev/v1alpha1"
_REQUIRED = ("name", "backend", "key", "policy", "type")


def parse_file(text: str, name: str) -> dict[str, str]:
    """The values in a file: a JSON object of strings, else lines of `KEY=VALUE`. Raises `RequestInvalid`."""
    if text.lstrip().startswith("{"):
        return _from_json(text, name)
    return _from_lines(text, name)


def _from_json(text: str, name: str) -> dict[str, str]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise RequestInvalid(f"{name} is not JSON: {error}.") from None
    wrong = [key for key, value in data.items() if not isinstance(value, str)]
    if wrong:
        raise RequestInvalid(
            f"{name}: the value of {wrong[0]!r} is not a string.",
            remedy="Configuration is text: put numbers, true and false in quotes.",
            key=wrong[0],
        )
    return dict(data)


def _from_lines(text: str, name: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        key, equals, value = stripped.removeprefix("export ").partition("=")
        if not equals or not key.strip():
            raise RequestInvalid(
                f"{name}, line {number}: {line[:80]!r} is not KEY=VALUE.", remedy="Comments begin with #."
            )
        values[key.strip()] = _unquoted(value.strip())
    return values


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value


def secret_name(name: str) -> str:
    """The name without the prefix, as a component asks for it. Raises `RequestInvalid`."""
    plain = name.removeprefix(_PREFIX)
    return check_user_name(plain)


def secret_key(name: str) -> str:
    """The name of the configuration that holds the reference."""
    return check_config_name(_PREFIX + secret_name(name))


def reference(
    name: str, backend: str, key: str, *, field: str | None, version: str | None, properties: Mapping[str, str]
) -> dict[str, str]:
    """The reference to a secret as it is stored: where its value is, never the value."""
    for what, text in (("backend", backend), ("key", key)):
        if not text.strip():
            raise RequestInvalid(f"The {what} of the secret is empty.", remedy=f"Name the {what}.")
    policy = json.dumps({"type": _PROPERTIES, "properties": dict(properties)}, separators=(",", ":"))
    found = {"name": secret_name(name), "type": _TYPE, "backend": backend, "key": key, "policy": policy}
    optional = {"field": field, "version": version}
    return {**found, **{what: text for what, text in optional.items() if text is not None}}


def shown_reference(stored: Mapping[str, str]) -> dict[str, str]:
    """What is said of a stored reference: its policy as pairs, the rest as it is."""
    shown = {key: stored[key] for key in ("name", "backend", "key", "field", "version") if key in stored}
    try:
        properties = json.loads(stored.get("policy", "{}")).get("properties", {})
    except (ValueError, AttributeError):
        properties = {}
    if isinstance(properties, dict) and properties:
        shown["properties"] = ",".join(f"{key}={value}" for key, value in sorted(properties.items()))
    return shown
