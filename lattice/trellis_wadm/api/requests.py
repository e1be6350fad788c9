"""What may be in a request to the application API, and what it means (lattice-protocol 7.1). Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trellis_lattice.errors import RequestInvalid
from trellis_wadm.api.messages import BY_HEADER, REPLACE_HEADER
from trellis_wadm.history import MAX_BY
from trellis_wadm.manifest import Manifest, errors, parse_manifests
from trellis_wadm.manifest.source import MAX_BYTES

__all__ = ["read_by", "read_manifest", "read_replace", "read_version"]

_CONTENT_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "application/json")


def read_manifest(payload: bytes, headers: Mapping[str, str] | None) -> tuple[Manifest, list[dict[str, Any]]]:
    """The manifest of a put, and its warnings. Raises `RequestInvalid` with the first error's text."""
    content_type = _header(headers, "Content-Type", "application/yaml").partition(";")[0].strip().lower()
    if content_type not in _CONTENT_TYPES:
        raise RequestInvalid(f"Unsupported content type: {content_type}", remedy=f"Use {_CONTENT_TYPES[0]}.")
    if len(payload) > MAX_BYTES:
        raise RequestInvalid(f"The manifest has {len(payload)} bytes; the limit is {MAX_BYTES}.")
    documents = parse_manifests(payload)
    if len(documents) > 1:
        raise RequestInvalid("There is more than one document.", remedy="Put each application by itself.")
    parsed = documents[0]
    findings = [finding.to_json() for finding in parsed.findings]
    if not parsed.ok or parsed.manifest is None:
        raise RequestInvalid(str(errors(parsed.findings)[0]), findings=findings)
    return parsed.manifest, findings


def read_version(payload: bytes) -> str | None:
    """The version that a request names, if any."""
    if not payload.strip():
        return None
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError):
        raise RequestInvalid("The request is not JSON.") from None
    version = body.get("version") if isinstance(body, dict) else None
    if version is not None and not isinstance(version, str):
        raise RequestInvalid("The version must be text.")
    return version


def read_by(headers: Mapping[str, str] | None) -> str:
    """Who asks, as far as they say so, on one line."""
    return " ".join(_header(headers, BY_HEADER, "").split())[:MAX_BY]


def read_replace(headers: Mapping[str, str] | None) -> bool:
    """Whether a put may take the place of a stored version."""
    return _header(headers, REPLACE_HEADER, "").strip().lower() == "true"


def _header(headers: Mapping[str, str] | None, name: str, default: str) -> str:
    return next((value for key, value in (headers or {}).items() if key.lower() == name.lower()), default)
