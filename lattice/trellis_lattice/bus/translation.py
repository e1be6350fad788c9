"""The one place where exceptions of nats-py become Trellis errors."""

from __future__ import annotations

import nats.errors

from trellis_lattice.bus.greeting import GreetingFailed
from trellis_lattice.errors import TOO_LARGE, Denied, PeerMisbehaved, RequestInvalid, TrellisError, Unavailable

__all__ = ["denied", "disconnected", "no_answerer", "not_permitted", "translate", "unreachable"]

_DENIED = ("authorization", "authentication", "permissions violation")
_TOO_SLOW = "authentication timeout"
"""The server did not get our greeting in time: no word about who we are."""


def translate(error: BaseException, where: str) -> TrellisError:
    """What `error`, raised by nats-py while doing something `where`, means for the caller."""
    if isinstance(error, TrellisError):
        return error
    if isinstance(error, GreetingFailed):
        return error.meaning
    text = str(error).removeprefix("nats: ").strip("' ")
    if isinstance(error, nats.errors.AuthorizationError) or _is_denial(text):
        return denied(where, text)
    if isinstance(error, nats.errors.BadSubjectError | nats.errors.BadHeaderError | UnicodeEncodeError):
        return RequestInvalid(f"NATS cannot carry this message on {where}: {text}.", subject=where)
    if isinstance(error, nats.errors.MaxPayloadError):
        return RequestInvalid(f"The message on {where} is larger than NATS accepts.", subject=where, reason=TOO_LARGE)
    if isinstance(error, nats.errors.ProtocolError | nats.errors.JsonParseError):
        return PeerMisbehaved(f"The NATS server at {where} broke its protocol: {text}.")
    return Unavailable(
        f"The connection to NATS failed at {where}: {text or type(error).__name__}.",
        remedy="It is made again by itself; check that the server runs.",
        retry_after=1.0,
        reason="disconnected",
    )


def denied(where: str, text: str) -> Denied:
    return Denied(
        f"NATS at {where} refused: {text or 'authorization violation'}.",
        remedy="Check the credentials (--creds, --nats-user, --nats-token, --nats-seed, or those in the url).",
        reason="credentials",
    )


def not_permitted(what: str, subject: str) -> Denied:
    """The server lets our user not do that; `what` is `publish` or `subscription`."""
    verb = "publish to" if what == "publish" else "subscribe to"
    return Denied(
        f"The user of this connection to NATS may not {verb} {subject}.",
        remedy="Permit it in the NATS server or account; docs/production.md lists what is needed.",
        reason="permissions",
        subject=subject,
    )


def _is_denial(text: str) -> bool:
    lower = text.lower()
    return _TOO_SLOW not in lower and any(word in lower for word in _DENIED)


def disconnected(urls: str, *, maybe_executed: bool = False) -> Unavailable:
    """There is no connection; or it was lost while an answer was awaited (`maybe_executed`)."""
    what = "The connection to NATS was lost before an answer came" if maybe_executed else "Not connected to NATS"
    return Unavailable(
        f"{what} ({urls}).",
        remedy="The connection is made again by itself; check that the server runs.",
        retry_after=1.0,
        maybe_executed=maybe_executed,
        reason="disconnected",
    )


def no_answerer(subject: str) -> Unavailable:
    """Nobody subscribes to `subject`: the request certainly did not start."""
    return Unavailable(f"Nobody on the lattice answers {subject}.", retry_after=1.0, reason="no-answerer")


def unreachable(urls: str, cause: BaseException | None) -> TrellisError:
    """The first connection could not be made."""
    if isinstance(cause, GreetingFailed):
        return cause.meaning
    text = str(cause) if cause is not None else "no answer in time"
    if _is_denial(text):
        return denied(urls, text.removeprefix("nats: ").strip("' "))
    if isinstance(cause, ConnectionRefusedError):
        text = "connection refused"
    elif isinstance(cause, OSError) and cause.strerror and not text.startswith("Multiple"):
        text = cause.strerror
    return Unavailable(
        f"NATS cannot be reached at {urls}: {text.removeprefix('nats: ') or type(cause).__name__}.",
        remedy="Start a lattice with `trellis up`, or name a running NATS server with --nats-url.",
        retry_after=1.0,
        reason="unreachable",
    )
