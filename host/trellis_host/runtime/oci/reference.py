"""References to images in registries: `registry[:port]/repository[:tag][@digest]`, also behind `oci://`. Pure.

The registry is always named: a reference whose first part could not be the name of a machine is not one (v1 takes it
for one of the public registry of Docker).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from trellis_lattice.errors import RequestInvalid

__all__ = ["DIGEST", "Reference", "looks_like_one", "parse_reference"]

DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*")
_PORT = re.compile(r"[0-9]{1,5}")
_IPV6 = re.compile(r"\[[0-9A-Fa-f:.]+\]")
_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_MAX_REPOSITORY = 255

_DOCKER = "docker.io"
_DOCKER_SERVER = "registry-1.docker.io"
_LOOPBACK = re.compile(r"localhost|127(?:\.[0-9]{1,3}){3}|\[::1\]")


@dataclass(frozen=True, slots=True)
class Reference:
    """One image of one registry. A digest decides; the tag beside it is for readers."""

    registry: str
    """Host and, if given, port, in lower case."""
    repository: str
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}{f':{self.tag}' if self.tag else ''}" + (
            f"@{self.digest}" if self.digest else ""
        )

    @property
    def version(self) -> str:
        """What to ask the registry for: the digest, else the tag, else `latest`."""
        return self.digest or self.tag or "latest"

    @property
    def server(self) -> str:
        """Who answers for the registry."""
        return _DOCKER_SERVER if self.registry == _DOCKER else self.registry

    @property
    def is_loopback(self) -> bool:
        """Whether the registry is on this machine."""
        host = self.registry if self.registry.endswith("]") else self.registry.rpartition(":")[0] or self.registry
        return _LOOPBACK.fullmatch(host) is not None


def looks_like_one(text: str) -> bool:
    """Whether a text is meant as a reference to a registry, sound or not."""
    return text.startswith("oci://") or ("/" in text and "://" not in text and _is_registry(text.partition("/")[0]))


def parse_reference(text: str) -> Reference:
    """Raises `RequestInvalid` that says which part is wrong."""
    rest = text.removeprefix("oci://")
    registry, slash, rest = rest.partition("/")
    if not slash or not _is_registry(registry):
        raise _wrong(text, "it names no registry", "Write registry/repository:tag, e.g. ghcr.io/you/echo:1.0.0.")
    rest, at, digest = rest.partition("@")
    if at and not DIGEST.fullmatch(digest):
        raise _wrong(text, f"{digest[:80]!r} is not a digest", "A digest is sha256: and 64 hexadecimal digits.")
    repository, colon, tag = rest.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise _wrong(
            text,
            f"{tag[:80]!r} is not a tag",
            "A tag has 1 to 128 letters, digits, `_`, `.`, `-`; not `.` or `-` first.",
        )
    if len(repository) > _MAX_REPOSITORY or not all(_PART.fullmatch(part) for part in repository.split("/")):
        remedy = "Write it in lower case." if repository != repository.lower() else "Copy it from the registry."
        raise _wrong(text, f"{repository[:80]!r} is not a repository", remedy)
    return Reference(registry.lower(), repository, tag or None, digest or None)


def _is_registry(text: str) -> bool:
    host, colon, port = (text, "", "") if text.endswith("]") else text.rpartition(":")
    if not colon:
        host = text
    elif not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        return False
    if _IPV6.fullmatch(host):
        return True
    return (
        _HOST.fullmatch(host) is not None and len(host) <= 253 and ("." in host or bool(colon) or host == "localhost")
    )


def _wrong(text: str, why: str, remedy: str) -> RequestInvalid:
    shown = text if len(text) <= 200 else f"{text[:199]}…"
    return RequestInvalid(f"{shown!r} is not a reference to an image: {why}.", remedy=remedy, image=shown)
