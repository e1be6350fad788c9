"""Why an image does not come from its registry, in words that say what to do. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from trellis_host.runtime.oci.reference import Reference
from trellis_lattice.errors import Denied, NotFound, PeerMisbehaved, RequestInvalid, TrellisError, Unavailable

__all__ = ["as_json", "misbehaved", "reason_of", "refused", "too_large", "unreachable"]

_MAX_REASON = 300


class _Response(Protocol):
    @property
    def status_code(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...


def as_json(body: bytes) -> Any:
    """What a body says, or None."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def reason_of(body: bytes) -> str:
    """The first error in the body of a refusal, as registries write them; empty if there is none."""
    answer = as_json(body)
    errors = answer.get("errors") if isinstance(answer, dict) else None
    first = errors[0] if isinstance(errors, list) and errors else None
    if not isinstance(first, dict):
        return ""
    text = str(first.get("message") or first.get("code") or "")
    return "".join(c if c.isprintable() else " " for c in text)[:_MAX_REASON]


def refused(
    reference: Reference, response: _Response, reason: str, *, known: bool, server_of_tokens: bool = False
) -> TrellisError:
    """What a status other than 200 means. `known`: credentials were at hand."""
    status, registry, image = response.status_code, reference.registry, str(reference)
    said = f" ({reason})" if reason else ""
    if status in (400, 401, 403) and (server_of_tokens or status != 400):
        if known:
            return Denied(
                f"Registry {registry} does not accept this host's credentials for {image}: {status}{said}.",
                remedy=f"Check that they are right and may read {reference.repository}; a `docker login {registry}` "
                "of the host's user, or `registry.put`, replaces them.",
                image=image,
                registry=registry,
            )
        return Denied(
            f"Registry {registry} wants credentials for {image}, or has no such image: {status}{said}.",
            remedy=f"Log the user of the host in (`docker login {registry}`), start the host with --registry-config, "
            "or send credentials to all hosts (control operation `registry.put`).",
            image=image,
            registry=registry,
        )
    if status == 404:
        return NotFound(
            f"Registry {registry} has no image {image}{said}.",
            remedy="Check its name and tag, and that it was pushed.",
            image=image,
            registry=registry,
        )
    if status == 429 or status >= 500:
        return Unavailable(
            f"Registry {registry} cannot give {image} now: {status}{said}.",
            remedy="Try again later.",
            retry_after=_seconds(response.headers.get("retry-after", "")),
            image=image,
            registry=registry,
        )
    return PeerMisbehaved(f"Registry {registry} answered {status} for {image}{said}.", image=image, registry=registry)


def unreachable(reference: Reference, why: str) -> Unavailable:
    """The connection failed."""
    registry = reference.registry
    unencrypted = "wrong version number" in why.lower() or "record layer failure" in why.lower()
    return Unavailable(
        f"Registry {registry} cannot be reached for {reference}: {why[:_MAX_REASON]}.",
        remedy=f"It does not seem to speak TLS; start the host with --allowed-insecure {registry} if that is so."
        if unencrypted
        else "Check its name, and that this host reaches it.",
        image=str(reference),
        registry=registry,
    )


def misbehaved(reference: Reference, why: str) -> PeerMisbehaved:
    return PeerMisbehaved(
        f"Registry {reference.registry} cannot be trusted with {reference}: {why}.",
        image=str(reference),
        registry=reference.registry,
    )


def too_large(reference: Reference, size: int, limit: int) -> RequestInvalid:
    return RequestInvalid(
        f"Image {reference} has {size} bytes; {limit} are allowed.",
        remedy="Strip debug information, or build for size.",
        image=str(reference),
    )


def _seconds(text: str) -> float:
    return min(float(text), 3600.0) if text.isascii() and text.isdigit() and len(text) < 9 else 5.0
