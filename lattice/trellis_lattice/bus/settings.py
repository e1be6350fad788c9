"""Where NATS is, and who we are there.

The law of this file: a secret is neither in a `repr` nor in an error; what names a file is read when a connection is
made, and again each time it is made anew, so that files may be replaced while a host runs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from trellis_lattice.errors import ConfigError

__all__ = ["ConnectionSettings", "TlsSettings", "check_settings", "without_secrets"]


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """How the connection is secured. `ca`: who may sign the server's certificate; None: whom this machine trusts.

    `certificate` and `key`: what we show the server, if it asks. `first`: the server expects TLS before it greets
    (`handshake_first` there). All files hold PEM.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    first: bool = False


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """Where NATS is and who we are there. `ping_interval` in seconds: a dead server is noticed after three.

    Who we are, the first that is there: `credentials` (a file with JWT and seed), `jwt` with `seed`, `seed` alone
    (an nkey user), `user` with `password`, `token`, what a url holds. With `tls` None a url `tls://…`, or a server
    that demands it, still means TLS.
    """

    urls: Sequence[str] = ("nats://127.0.0.1:4222",)
    name: str = "trellis"
    credentials: Path | None = None
    jwt: str | None = field(default=None, repr=False)
    seed: str | None = field(default=None, repr=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    tls: TlsSettings | None = None
    jetstream_domain: str | None = None
    ping_interval: float = 1.0

    @property
    def shown(self) -> str:
        """The urls without user names and passwords."""
        return ", ".join(without_secrets(url) for url in self.urls)


def without_secrets(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if separator else url.rpartition("@")[2]


def check_settings(settings: ConnectionSettings) -> None:
    """Raises `ConfigError` for what could never connect."""
    if not settings.urls:
        raise ConfigError("No NATS server is named.", remedy="Name one with --nats-url nats://HOST:PORT.")
    for url in settings.urls:
        _check_url(url)
    if settings.credentials is not None:
        _check_file(settings.credentials, "NATS credentials file", "credentials")
    if settings.jwt is not None and settings.seed is None:
        raise ConfigError(
            "A user JWT alone proves nothing.", remedy="Give the seed of its user as well (--nats-seed).", key="seed"
        )
    if settings.tls is not None:
        _check_tls(settings.tls)


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        sound = parts.scheme in ("nats", "tls") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        sound = False
    if not sound or any(character.isspace() for character in url):
        raise ConfigError(
            f"{without_secrets(url)!r} is not the url of a NATS server.",
            remedy="Expected nats://HOST:PORT or tls://HOST:PORT.",
            key="nats-url",
        )


def _check_tls(tls: TlsSettings) -> None:
    for path, what, key in (
        (tls.ca, "CA file", "tls-ca"),
        (tls.certificate, "TLS certificate", "tls-cert"),
        (tls.key, "TLS key", "tls-key"),
    ):
        if path is not None:
            _check_file(path, what, key)
    if tls.key is not None and tls.certificate is None:
        raise ConfigError("There is a TLS key, but no certificate for it.", remedy="Give --tls-cert.", key="tls-cert")


def _check_file(path: Path, what: str, key: str) -> None:
    if not path.is_file() or not os.access(path, os.R_OK):
        raise ConfigError(f"The {what} {path} cannot be read.", remedy="Check its path and permissions.", key=key)
