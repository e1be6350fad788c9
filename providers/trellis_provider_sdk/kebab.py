"""From Python names to WIT names."""

from __future__ import annotations

import re

__all__ = ["kebab"]

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def kebab(name: str) -> str:
    """`KeyResponse`, `key_response`, `KEY_RESPONSE` → `key-response`; a trailing underscore (`type_`) goes."""
    if name.isupper():
        return name.strip("_").replace("_", "-").lower()
    return _WORD_START.sub("-", name).strip("_").replace("_", "-").lower()
