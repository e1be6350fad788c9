"""Manifests for tests, built as data: short to write, complete to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trellis_wadm.manifest import Manifest, parse_data


def application(name: str, *components: Mapping[str, Any], version: str = "v1", **metadata: Any) -> dict[str, Any]:
    annotations = {"version": version, **metadata.pop("annotations", {})}
    return {
        "apiVersion": "core.oam.dev/v1beta1",
        "kind": "Application",
        "metadata": {"name": name, "annotations": annotations, **metadata},
        "spec": {"components": list(components)},
    }


def component(
    name: str, *traits: Mapping[str, Any], image: str = "file:///c.wasm", **properties: Any
) -> dict[str, Any]:
    return {
        "name": name,
        "type": "component",
        "properties": {"image": image, **properties},
        "traits": list(traits),
    }


def provider(name: str, *traits: Mapping[str, Any], image: str = "ghcr.io/p:1", **properties: Any) -> dict[str, Any]:
    return {
        "name": name,
        "type": "capability",
        "properties": {"image": image, **properties},
        "traits": list(traits),
    }


def spread(instances: int, *entries: Mapping[str, Any], daemon: bool = False) -> dict[str, Any]:
    properties = {"instances": instances, **({"spread": list(entries)} if entries else {})}
    return {"type": "daemonscaler" if daemon else "spreadscaler", "properties": properties}


def group(name: str, weight: int | None = None, **requirements: str) -> dict[str, Any]:
    return {"name": name, "requirements": requirements, **({} if weight is None else {"weight": weight})}


def link(
    target: str,
    package: str = "wasi:keyvalue",
    interfaces: Sequence[str] = ("store",),
    *,
    name: str | None = None,
    source: Mapping[str, Mapping[str, str]] | None = None,
    to: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    namespace, _, short = package.partition(":")
    properties: dict[str, Any] = {
        "target": {"name": target, **({"config": configs(to)} if to else {})},
        "namespace": namespace,
        "package": short,
        "interfaces": list(interfaces),
    }
    if name:
        properties["name"] = name
    if source:
        properties["source"] = {"config": configs(source)}
    return {"type": "link", "properties": properties}


def http(target: str, address: str, config: str = "listen", *, name: str | None = None, **more: str) -> dict[str, Any]:
    """A link that makes an HTTP server listen."""
    return link(target, "wasi:http", ["incoming-handler"], name=name, source={config: {"address": address, **more}})


def configs(entries: Mapping[str, Mapping[str, str] | None]) -> list[dict[str, Any]]:
    return [
        {"name": name, **({} if values is None else {"properties": dict(values)})} for name, values in entries.items()
    ]


def manifest(data: Mapping[str, Any]) -> Manifest:
    """The manifest, which must be valid."""
    parsed = parse_data(data)
    assert parsed.ok, [str(finding) for finding in parsed.findings]
    assert parsed.manifest is not None
    return parsed.manifest


def policy(name: str = "placement", **properties: str) -> dict[str, Any]:
    """A placement policy; `max_moves` stands for `max-moves`."""
    kind = "policy.placement.trellis.dev/v1alpha1"
    return {"name": name, "type": kind, "properties": {k.replace("_", "-"): v for k, v in properties.items()}}


def with_policies(data: dict[str, Any], *policies: Mapping[str, Any]) -> dict[str, Any]:
    """The application with these policies."""
    return {**data, "spec": {**data["spec"], "policies": list(policies)}}
