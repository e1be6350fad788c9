"""What a registry asks for before it answers: the `WWW-Authenticate` header (RFC 9110, 11.6.1). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Challenge", "parse_challenges"]

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_NEXT = re.compile(
    rf"""[\s,]*(?:
        (?P<key>{_TOKEN})\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>{_TOKEN}))
        | (?P<scheme>{_TOKEN})(?=[\s,]|$)
    )""",
    re.VERBOSE,
)
_MAX_HEADER = 8 * 1024
_MAX_CHALLENGES = 16


@dataclass(frozen=True, slots=True)
class Challenge:
    """A scheme (`bearer`, `basic`, …) in lower case, and its parameters."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(header: str) -> list[Challenge]:
    """The challenges of a header, in order; what cannot be read ends it. Never raises."""
    found: list[Challenge] = []
    at, text = 0, header[:_MAX_HEADER]
    while (match := _NEXT.match(text, at)) is not None and len(found) <= _MAX_CHALLENGES:
        at = match.end()
        if match["scheme"] is not None:
            found.append(Challenge(match["scheme"].lower(), {}))
        elif not found:
            break
        else:
            value = match["plain"] if match["quoted"] is None else re.sub(r"\\(.)", r"\1", match["quoted"])
            found[-1].parameters.setdefault(match["key"].lower(), value)
    return found[:_MAX_CHALLENGES]
