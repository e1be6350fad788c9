"""Key-value pairs, as given on the command line: labels of hosts, annotations, configuration."""

from __future__ import annotations

from collections.abc import Iterable

from trellis_lattice.errors import RequestInvalid

__all__ = ["parse_keys", "parse_labels", "parse_pairs"]

_RESERVED = "hostcore."


def parse_labels(texts: Iterable[str]) -> dict[str, str]:
    """`zone=a` (also `zone=a,disk=ssd`) as a mapping. Raises `RequestInvalid` naming what is wrong."""
    labels = parse_pairs((part for text in texts for part in text.split(",")), "label")
    _check_reserved(labels)
    return labels


def parse_keys(texts: Iterable[str]) -> list[str]:
    """`zone`, also `zone=a` and `zone,disk`, as keys. Raises `RequestInvalid`."""
    parts = [part.partition("=")[0].strip() for text in texts for part in text.split(",")]
    if not all(parts):
        raise RequestInvalid("A label without a key.", remedy="Write the keys of the labels, e.g. zone disk.")
    _check_reserved(parts)
    return list(dict.fromkeys(parts))


def _check_reserved(keys: Iterable[str]) -> None:
    for key in keys:
        if key.lower().startswith(_RESERVED):
            raise RequestInvalid(
                f"The label {key!r} cannot be changed: hosts say {_RESERVED}* themselves.",
                remedy="Choose another key.",
            )


def parse_pairs(texts: Iterable[str], what: str) -> dict[str, str]:
    """`KEY=VALUE` each, as a mapping; a value may hold anything. Raises `RequestInvalid`."""
    pairs: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            article = "an" if what[0] in "aeiou" else "a"
            raise RequestInvalid(
                f"{text[:80]!r} is not {article} {what}.", remedy="Write it as KEY=VALUE, e.g. zone=a."
            )
        pairs[key.strip()] = value.strip() if what == "label" else value
    return pairs
