"""Which hosts a component may send HTTP requests to. Pure; nothing granted, nothing allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from trellis_lattice.errors import RequestInvalid

__all__ = ["HttpGrants", "split_authority"]

_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:@/?#\s\\]+)(?::(?P<port>\d{1,5}))?")
_GRANT = re.compile(
    r"(?:(?P<scheme>https?)://)?(?P<host>\*|(?:\*\.)?[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\*|\d{1,5}))?/?"
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def split_authority(authority: str, scheme: str) -> tuple[str, int] | None:
    """Host (lower case, without a final dot) and port; None if it is not an authority without user information."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return None
    port = int(match["port"]) if match["port"] else _DEFAULT_PORTS.get(scheme, 0)
    if not 0 < port < 65536:
        return None
    return match["host"].lower().removesuffix("."), port


@dataclass(frozen=True, slots=True)
class _Grant:
    scheme: str | None
    host: str
    port: int | None
    any_port: bool

    def allows(self, scheme: str, host: str, port: int) -> bool:
        if self.scheme is not None and self.scheme != scheme:
            return False
        if not self.any_port and port != (self.port or _DEFAULT_PORTS[scheme]):
            return False
        if self.host == "*":
            return True
        if self.host.startswith("*."):
            return host.endswith(self.host[1:]) and len(host) >= len(self.host)
        return host == self.host


class HttpGrants:
    """Grants as a manifest writes them: `[http://|https://]host[:port]`.

    `host` may start with `*.` (any name below) or be `*` (any host). Without a port only the scheme's own is
    granted, except for a lone `*`; `:*` is any port. Raises `RequestInvalid` for what is none of these.
    """

    __slots__ = ("_grants",)

    def __init__(self, grants: Iterable[str] = ()) -> None:
        self._grants = tuple(_parse(each) for each in grants)

    def allows(self, scheme: str, authority: str) -> bool:
        """Whether a request may go to `authority` (`host[:port]`) with `scheme` (`http` or `https`)."""
        where = split_authority(authority, scheme)
        if where is None or scheme not in _DEFAULT_PORTS:
            return False
        return any(grant.allows(scheme, *where) for grant in self._grants)


def _parse(text: str) -> _Grant:
    match = _GRANT.fullmatch(text.strip())
    port = match["port"] if match else None
    if match is None or (port not in (None, "*") and not 0 < int(port or 0) < 65536):
        raise RequestInvalid(
            f"{text[:200]!r} does not name hosts for outgoing HTTP requests.",
            remedy="Write host, host:port, https://host, *.example.com or *.",
        )
    any_port = port == "*" or (match["host"] == "*" and port is None)
    number = int(port) if port is not None and port != "*" else None
    return _Grant(match["scheme"], match["host"].lower().removesuffix("."), number, any_port)
