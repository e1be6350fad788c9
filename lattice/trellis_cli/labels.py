"""Labels of hosts, as given on the command line."""

from __future__ import annotations

from collections.abc import Iterable

from trellis_lattice.errors import RequestInvalid

__all__ = ["parse_labels"]

_RESERVED = "hostcore."


def parse_labels(texts: Iterable[str]) -> dict[str, str]:
    """`zone=a` (also `zone=a,disk=ssd`) as a mapping. Raises `RequestInvalid` naming what is wrong."""
    labels: dict[str, str] = {}
    for part in (part for text in texts for part in text.split(",")):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise RequestInvalid(f"{part[:80]!r} is not a label.", remedy="Write it as KEY=VALUE, e.g. --label zone=a.")
        if key.strip().lower().startswith(_RESERVED):
            raise RequestInvalid(
                f"The label {key.strip()!r} cannot be set: hosts say {_RESERVED}* themselves.",
                remedy="Choose another key.",
            )
        labels[key.strip()] = value.strip()
    return labels
