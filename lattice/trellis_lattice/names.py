"""Names of WIT interfaces and how versions match.

The law of this file: a host answers an import by its semver track, never by comparing strings. `0.2.x` and
`0.2.y` are one track, `0.3.x` another, `1.x.y` is one track for every x; a pre-release (`0.2.0-draft`)
matches only itself. A name without version matches any (links carry none: lattice-protocol 4.2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from trellis_lattice.errors import RequestInvalid

__all__ = ["InterfaceName", "track"]

_LABEL = r"[a-zA-Z][a-zA-Z0-9]*(?:-[a-zA-Z0-9]+)*"
_NAME = re.compile(
    rf"(?P<namespace>{_LABEL}):(?P<package>{_LABEL})/(?P<interface>{_LABEL})(?:@(?P<version>[0-9A-Za-z.+-]+))?"
)
_RELEASE = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_MAX_LENGTH = 512


@dataclass(frozen=True, slots=True)
class InterfaceName:
    """`namespace:package/interface[@version]`, e.g. `wasi:keyvalue/store@0.2.0-draft`."""

    namespace: str
    package: str
    interface: str
    version: str | None = None

    @classmethod
    def parse(cls, text: str) -> InterfaceName:
        """Raises `RequestInvalid` naming the text and the expected shape."""
        return _parse(text)

    @property
    def unversioned(self) -> str:
        return f"{self.namespace}:{self.package}/{self.interface}"

    def __str__(self) -> str:
        return f"{self.unversioned}@{self.version}" if self.version else self.unversioned

    def answers(self, wanted: InterfaceName) -> bool:
        """Whether an implementation of this name may answer an import of `wanted`."""
        if self.unversioned != wanted.unversioned:
            return False
        if self.version is None or wanted.version is None:
            return True
        return track(self.version) == track(wanted.version)


@lru_cache(maxsize=4096)
def _parse(text: str) -> InterfaceName:
    match = _NAME.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    if match is None:
        raise RequestInvalid(
            f"{text[:80]!r} is not the name of a WIT interface.",
            remedy="Expected namespace:package/interface or namespace:package/interface@version.",
        )
    return InterfaceName(**match.groupdict())


def track(version: str) -> str:
    """The semver track of a version: `0.2.9` → `0.2`, `1.4.0` → `1`; a pre-release is a track of its own."""
    match = _RELEASE.fullmatch(version)
    if match is None:
        return version
    major, minor, patch = match.groups()
    if major != "0":
        return major
    return f"0.{minor}" if minor != "0" else f"0.0.{patch}"
