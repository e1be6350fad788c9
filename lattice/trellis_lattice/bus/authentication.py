"""Who we say we are in NATS's `CONNECT`, and the proof of it: JWT and signature, nkey, password or token.

The nonce is signed here, with the key that all of Trellis uses, so that nothing but libsodium is needed.
Formats: https://docs.nats.io/reference/reference-protocols/nats-protocol#connect
"""

from __future__ import annotations

import base64
import re
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from trellis_lattice.bus.settings import ConnectionSettings
from trellis_lattice.errors import ConfigError, RequestInvalid
from trellis_lattice.nkeys import KeyPair

__all__ = ["proof", "read_credentials"]

_SECTION = re.compile(r"-{3,}BEGIN ([A-Z ]+)-{3,}\s+(\S+)\s+-{3,}END \1-{3,}")


def proof(settings: ConnectionSettings, server: SplitResult | None, nonce: str | None) -> dict[str, str]:
    """The fields that `CONNECT` gets. `server`: the url of the server that is greeted, which may hold a user.

    Raises `ConfigError` if the credentials file or the seed cannot be used.
    """
    if settings.credentials is not None:
        jwt, seed = read_credentials(settings.credentials)
        return {"jwt": jwt, "sig": _signature(seed, nonce)}
    if settings.seed is not None:
        signed = {"sig": _signature(settings.seed, nonce)}
        return signed | ({"jwt": settings.jwt} if settings.jwt else {"nkey": _key(settings.seed).public})
    if settings.user is not None:
        return {"user": settings.user, "pass": settings.password or ""}
    if settings.token is not None:
        return {"auth_token": settings.token}
    return _of_url(settings, server)


def _of_url(settings: ConnectionSettings, server: SplitResult | None) -> dict[str, str]:
    """A server that was found through another has no user in its url; it is asked as the one we were told of."""
    named = [urlsplit(url if "://" in url else f"nats://{url}") for url in settings.urls]
    for url in ([server] if server is not None else []) + named:
        if url.username and url.password is None:
            return {"auth_token": unquote(url.username)}
        if url.username:
            return {"user": unquote(url.username), "pass": unquote(url.password or "")}
    return {}


def read_credentials(path: Path) -> tuple[str, str]:
    """JWT and seed of a credentials file, as `nsc generate creds` writes them. Raises `ConfigError`."""
    try:
        sections = dict(_SECTION.findall(path.read_text("ascii", "replace")))
    except OSError as error:
        raise ConfigError(
            f"The NATS credentials file {path} cannot be read: {error.strerror}.", key="credentials"
        ) from error
    jwt, seed = sections.get("NATS USER JWT"), sections.get("USER NKEY SEED")
    if jwt is None or seed is None:
        raise ConfigError(
            f"{path} holds no NATS credentials: a user JWT and the seed of its key are missing.",
            remedy="Make it with `nsc generate creds`.",
            key="credentials",
        )
    return jwt, seed


def _key(seed: str) -> KeyPair:
    try:
        return KeyPair.from_seed(seed)
    except RequestInvalid as error:
        raise ConfigError(f"The seed of the NATS user cannot be used. {error.message}", key="seed") from error


def _signature(seed: str, nonce: str | None) -> str:
    """Of nothing, if the server did not ask for one: it does not want to know who we are."""
    signed = _key(seed).sign((nonce or "").encode())
    return base64.urlsafe_b64encode(signed).rstrip(b"=").decode()
