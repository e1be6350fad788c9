"""What the links of a manifest must obey (lattice-protocol 7.4), one function for each rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trellis_wadm.manifest.findings import Level, Path
from trellis_wadm.manifest.listeners import clash, listeners
from trellis_wadm.manifest.model import ConfigEntry, CustomTrait, LinkTrait, Manifest
from trellis_wadm.manifest.walks import Draft, components, indexed, links

__all__ = [
    "custom_links",
    "deprecated_link_configs",
    "known_interfaces",
    "link_configs",
    "link_targets_exist",
    "one_listener_per_address",
    "unique_link_configs",
    "unique_links",
]

_KNOWN_INTERFACES: Mapping[str, Mapping[str, frozenset[str]]] = {
    "wasi": {
        "blobstore": frozenset({"blobstore"}),
        "config": frozenset({"runtime", "store"}),
        "keyvalue": frozenset({"atomics", "store", "batch", "watch"}),
        "http": frozenset({"incoming-handler", "outgoing-handler"}),
        "logging": frozenset({"logging"}),
    },
    "wrpc": {
        "blobstore": frozenset({"blobstore"}),
        "keyvalue": frozenset({"atomics", "store"}),
        "http": frozenset({"incoming-handler", "outgoing-handler"}),
    },
    "wasmcloud": {"messaging": frozenset({"consumer", "handler"})},
}


def link_targets_exist(manifest: Manifest, data: Any) -> Iterator[Draft]:
    names = {component.name for component in manifest.spec.components}
    dangling = [item for item in links(manifest) if item[2].target.name not in names]
    for path, _, link in dangling:
        name = link.target.name
        label = f"{link.name}-{link.namespace}:{link.package}"
        message = f"link ({label}) target [{name}] is not a listed component"
        yield Draft("dangling-link", (*path, "properties", "target"), message, None, Level.WARNING)
    if dangling:
        missing = sorted({link.target.name for _, _, link in dangling})
        message = f"The following capability component(s) are missing from the manifest: [{', '.join(missing)}]"
        remedy = f"Add them, or link to one of: {', '.join(sorted(names))}."
        yield Draft("missing-target", (*dangling[0][0], "properties", "target"), message, remedy)


def custom_links(manifest: Manifest, data: Any) -> Iterator[Draft]:
    """Traits that look like a link but could not be read as one."""
    for path, component in components(manifest):
        for t, trait in enumerate(component.traits or ()):
            if not isinstance(trait, CustomTrait) or not (
                {"namespace", "package", "interfaces"} & trait.properties.keys()
            ):
                continue
            place = (*path, "traits", t)
            target = trait.properties.get("target")
            if target is None:
                yield Draft(
                    "custom-link", place, "custom link is missing 'target' property", "Name the component to link to."
                )
            elif isinstance(target, Mapping) and "name" not in target:
                yield Draft("custom-link", place, "custom link is missing 'target' name", "Add 'target.name'.")


def unique_links(manifest: Manifest, data: Any) -> Iterator[Draft]:
    for path, component in components(manifest):
        seen: set[tuple[str, str, str, str]] = set()
        for t, trait in enumerate(component.traits or ()):
            if not isinstance(trait, LinkTrait):
                continue
            link = trait.properties
            for interface in dict.fromkeys(link.interfaces):
                key = (link.name, link.namespace, link.package, interface)
                if key in seen:
                    label = f"{link.namespace}:{link.package}/{interface}"
                    message = f"Duplicate link found inside component '{component.name}': {label} (name '{link.name}')"
                    yield Draft("duplicate-link", (*path, "traits", t), message, "Give one of them another link name.")
                seen.add(key)


def unique_link_configs(manifest: Manifest, data: Any) -> Iterator[Draft]:
    seen: set[str] = set()
    for path, entry in link_configs(manifest):
        if entry.properties is None:
            continue
        if entry.name in seen:
            message = f"Duplicate link config name found: '{entry.name}'"
            yield Draft("duplicate-config", (*path, "name"), message, "Give it a name of its own.")
        seen.add(entry.name)


def link_configs(manifest: Manifest) -> Iterator[tuple[Path, ConfigEntry]]:
    """Every config of every link, both sides."""
    for path, _, link in links(manifest):
        yield from indexed((*path, "properties", "target", "config"), link.target.config)
        yield from indexed((*path, "properties", "source", "config"), link.source.config if link.source else [])


def one_listener_per_address(manifest: Manifest, data: Any) -> Iterator[Draft]:
    known = list(listeners(manifest))
    for i, listener in enumerate(known):
        for earlier in known[:i]:
            if (reason := clash(earlier, listener)) is not None:
                message = f"Two listeners on one address: '{earlier.component}' and '{listener.component}': {reason}."
                remedy = "Give one of them another port, or tell them apart by 'path' or 'host'."
                yield Draft("address-in-use", listener.place, message, remedy)
                break


def known_interfaces(manifest: Manifest, data: Any) -> Iterator[Draft]:
    for path, _, link in links(manifest):
        packages = _KNOWN_INTERFACES.get(link.namespace)
        if packages is None:
            continue
        known = packages.get(link.package)
        if known is None:
            message = f"unrecognized package [{link.namespace}:{link.package}]"
            remedy = f"Known: {', '.join(sorted(packages))}."
            yield Draft("unknown-package", (*path, "properties", "package"), message, remedy, Level.WARNING)
            continue
        for i, interface in enumerate(link.interfaces):
            if interface not in known:
                message = f"unrecognized interface [{link.namespace}:{link.package}/{interface}]"
                remedy = f"Known: {', '.join(sorted(known))}."
                place = (*path, "properties", "interfaces", i)
                yield Draft("unknown-interface", place, message, remedy, Level.WARNING)


def deprecated_link_configs(manifest: Manifest, data: Any) -> Iterator[Draft]:
    for path, _, _ in links(manifest):
        raw = _at(data, (*path, "properties"))
        for key in ("source_config", "target_config"):
            if isinstance(raw, Mapping) and key in raw:
                side = key.removesuffix("_config")
                message = f"'{key}' of a link is deprecated."
                remedy = f"Write '{side}: {{config: [...]}}' instead."
                yield Draft("deprecated-key", (*path, "properties", key), message, remedy, Level.WARNING)


def _at(data: Any, path: Path) -> Any:
    for step in path:
        data = data[step]
    return data
