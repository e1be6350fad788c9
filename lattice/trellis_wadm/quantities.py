"""What `trellis.dev/…` annotations of a component mean: limits and grants (docs/manifests.md)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

__all__ = ["ANNOTATIONS", "PREFIX", "bad_annotations", "component_limits", "parse_bytes", "parse_seconds"]

PREFIX = "trellis.dev/"
MAX_MEMORY = f"{PREFIX}max-memory"
TIMEOUT = f"{PREFIX}timeout"
ALLOWED_HOSTS = f"{PREFIX}allowed-hosts"
ANNOTATIONS = (ALLOWED_HOSTS, MAX_MEMORY, TIMEOUT)
"""Every annotation of ours that a component may carry."""

_BYTES = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(B|KB|MB|GB|KiB|MiB|GiB|)")
_SECONDS = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h)")
_BYTE_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_BOUND = 2.0**53
_SECOND_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_HOST = re.compile(
    r"(https?://)?(\*|(\*\.)?[A-Za-z0-9_]([-A-Za-z0-9_.]*[A-Za-z0-9_])?|\[[0-9a-fA-F:.]+\])(:([0-9]{1,5}|\*))?/?"
)


def parse_bytes(text: str) -> int | None:
    """`64MiB`, `1.5GB`, `65536` in bytes; None if it is not a size above 0, or one that no machine has."""
    match = _BYTES.fullmatch(text.strip())
    size = float(match[1]) * _BYTE_UNITS[match[2]] if match else 0.0
    return int(size) if 1 <= size < _BOUND else None


def parse_seconds(text: str) -> float | None:
    """`500ms`, `5s`, `2m` in seconds; None if it is not a time above 0, or one that nobody lives to see."""
    match = _SECONDS.fullmatch(text.strip())
    seconds = float(match[1]) * _SECOND_UNITS[match[2]] if match else 0.0
    return seconds if 0 < seconds < _BOUND else None


def component_limits(annotations: Mapping[str, str]) -> dict[str, str]:
    """v1's own `component_limits` of a scale request, in bytes and milliseconds as text; wrong values are left out."""
    limits: dict[str, str] = {}
    if (size := parse_bytes(annotations.get(MAX_MEMORY, ""))) is not None:
        limits["max_memory_limit"] = str(size)
    if (seconds := parse_seconds(annotations.get(TIMEOUT, ""))) is not None:
        limits["max_execution_time"] = str(max(1, round(seconds * 1000)))
    return limits


def bad_annotations(annotations: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(annotation, what it should have been) of each that cannot be read."""
    if MAX_MEMORY in annotations and parse_bytes(annotations[MAX_MEMORY]) is None:
        yield MAX_MEMORY, "a size such as 64MiB"
    if TIMEOUT in annotations and parse_seconds(annotations[TIMEOUT]) is None:
        yield TIMEOUT, "a time such as 5s or 500ms"
    hosts = annotations.get(ALLOWED_HOSTS)
    if hosts is not None and not all(_HOST.fullmatch(host.strip()) for host in hosts.split(",")):
        yield ALLOWED_HOSTS, "host names separated by commas, such as api.example.com, *.example.org:8443"
