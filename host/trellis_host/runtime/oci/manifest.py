"""Which of the blobs that a registry names is the component: image manifests and indexes. Pure.

Sources: OCI image specification 1.1, the wasm artifact layout of the CNCF (`application/wasm`), and what the tools of
wasmCloud v1 and of runwasi wrote before there was one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trellis_host.runtime.oci.reference import DIGEST
from trellis_lattice.errors import PeerMisbehaved, RequestInvalid

__all__ = ["ACCEPTED", "Descriptor", "read_manifest"]

_MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
ACCEPTED = ", ".join((*_MANIFESTS, *_INDEXES))
"""The `Accept` header of a request for a manifest."""

_WASM = frozenset(
    {
        "application/wasm",
        "application/vnd.wasm.content.layer.v1+wasm",
        "application/vnd.module.wasm.content.layer.v1+wasm",
        "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
        "application/vnd.bytecodealliance.component.layer.v0+wasm",
    }
)
_PROVIDER_ARCHIVE = "provider.archive"
_MAX_ENTRIES = 1024


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What to fetch next: `size` in bytes; a manifest if `is_manifest`, else the component itself."""

    digest: str
    size: int
    is_manifest: bool


def read_manifest(body: bytes, image: str) -> Descriptor:
    """The component that a manifest holds, or the manifest that an index leads to.

    Raises `PeerMisbehaved` if this is no manifest, `RequestInvalid` if it holds no component or several.
    """
    try:
        manifest = json.loads(body)
    except (ValueError, RecursionError):
        manifest = None
    if not isinstance(manifest, Mapping):
        raise PeerMisbehaved(f"What its registry has for {image} is not a manifest.", image=image)
    if "manifests" in manifest:
        return _of_index(_entries(manifest["manifests"], image), image)
    return _of_layers(_entries(manifest.get("layers"), image), image)


def _of_layers(layers: list[Mapping[str, Any]], image: str) -> Descriptor:
    wasm = [layer for layer in layers if layer.get("mediaType") in _WASM]
    if len(wasm) == 1:
        return _descriptor(wasm[0], image, is_manifest=False)
    if wasm:
        raise RequestInvalid(
            f"{image} holds {len(wasm)} WebAssembly layers.", remedy="Push the component alone.", image=image
        )
    kinds = sorted({str(layer.get("mediaType"))[:100] for layer in layers})
    if any(_PROVIDER_ARCHIVE in kind for kind in kinds):
        raise RequestInvalid(
            f"{image} is a provider archive of wasmCloud v1, which this host cannot run.",
            remedy="Use the provider of the same name that comes with Trellis, or place it on a v1 host.",
            image=image,
        )
    raise RequestInvalid(
        f"{image} holds no WebAssembly component (its layers: {', '.join(kinds[:5]) or 'none'}).",
        remedy="Push the .wasm file with a tool for WebAssembly, as a layer of type application/wasm.",
        image=image,
    )


def _of_index(entries: list[Mapping[str, Any]], image: str) -> Descriptor:
    """The entry for wasm; if none says so, the only one."""
    wasm = [entry for entry in entries if _architecture(entry) == "wasm"]
    chosen = wasm or entries
    if len(chosen) > 1:
        # signatures and attestations stand beside the image, for no platform
        chosen = [entry for entry in chosen if _architecture(entry) not in ("unknown", "")] or chosen
    if len(chosen) != 1:
        raise RequestInvalid(
            f"{image} is a list of {len(entries)} images, {len(wasm)} of them for wasm.",
            remedy="Name the one to run by its digest: …@sha256:….",
            image=image,
        )
    return _descriptor(chosen[0], image, is_manifest=True)


def _architecture(entry: Mapping[str, Any]) -> str:
    platform = entry.get("platform")
    return str(platform.get("architecture", "")) if isinstance(platform, Mapping) else ""


def _entries(value: Any, image: str) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or len(value) > _MAX_ENTRIES or not all(isinstance(each, Mapping) for each in value):
        raise PeerMisbehaved(f"What its registry has for {image} is not the manifest of an image.", image=image)
    return value


def _descriptor(entry: Mapping[str, Any], image: str, *, is_manifest: bool) -> Descriptor:
    digest, size = entry.get("digest"), entry.get("size")
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest) or type(size) is not int or size < 0:
        raise PeerMisbehaved(f"The manifest of {image} does not say what it holds.", image=image)
    return Descriptor(digest, size, is_manifest)
