"""Wishes within one manifest that cannot hold together: found here, so that nothing is placed to and fro for ever."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from trellis_wadm import naming
from trellis_wadm.manifest.findings import Level, Path
from trellis_wadm.manifest.model import ConfigEntry, Manifest, ScalerTrait, SpreadEntry
from trellis_wadm.manifest.walks import Draft, components, indexed, links

__all__ = ["one_scaler", "one_value_per_config", "one_value_per_link", "spread_overlaps", "unique_lattice_ids"]

_NEVER = {"trellis.dev/cordoned": "true", "trellis.dev/draining": "true"}
"""Labels of hosts that take nothing new."""


def one_scaler(manifest: Manifest, data: Any) -> Iterator[Draft]:
    for path, component in components(manifest):
        scalers = [(t, trait) for t, trait in enumerate(component.traits or ()) if isinstance(trait, ScalerTrait)]
        for t, trait in scalers[1:]:
            place = (*path, "traits", t)
            if trait == scalers[0][1]:
                message = f"Component '{component.name}' has the same scaler trait {len(scalers)} times."
                yield Draft("several-scalers", place, message, "Remove the others.", Level.WARNING)
            else:
                message = (
                    f"Component '{component.name}' has {len(scalers)} scaler traits that ask for different things."
                )
                yield Draft("several-scalers", place, message, "Keep one; its 'spread' may have several entries.")
        if not scalers and not component.is_provider and component.properties.image is not None:
            message = f"Component '{component.name}' has no scaler trait, so it is not started."
            yield Draft("no-scaler", path, message, "Add a trait of type spreadscaler.", Level.WARNING)


def unique_lattice_ids(manifest: Manifest, data: Any) -> Iterator[Draft]:
    """Two components that the lattice would take for one; those with one name or one `id` have a rule of their own."""
    owner: dict[str, str] = {}
    for path, component in components(manifest):
        if component.properties.image is None:
            continue
        chosen = component.properties.id
        id = chosen or naming.owned_name(manifest.name, component.name)
        other = owner.setdefault(id, component.name)
        twins = [item for _, item in components(manifest) if item.name == other]
        if other == component.name or (chosen and twins[0].properties.id == chosen):
            continue
        message = f"The components '{other}' and '{component.name}' have the same identifier '{id}' in the lattice."
        place = (*path, "properties", "id") if chosen else (*path, "name")
        yield Draft("duplicate-id", place, message, "Rename one of them, or give it an 'id' of its own.")


def one_value_per_config(manifest: Manifest, data: Any) -> Iterator[Draft]:
    """The same name with different values would be written to and fro for ever."""
    first: dict[str, tuple[str, Mapping[str, str]]] = {}
    for place, entry in _configs(manifest):
        if entry.properties is None:
            continue
        name, properties = first.setdefault(
            naming.owned_name(manifest.name, entry.name), (entry.name, entry.properties)
        )
        if properties == entry.properties:
            continue
        alike = "" if name == entry.name else f" (as '{name}', which the lattice does not tell apart from it)"
        message = f"The config '{entry.name}' is given twice with different properties{alike}."
        yield Draft("config-differs", (*place, "name"), message, "Give one of them another name.")


def _configs(manifest: Manifest) -> Iterator[tuple[Path, ConfigEntry]]:
    """Every config: of components first, then of links, both sides."""
    own = (indexed((*path, "properties", "config"), item.properties.config) for path, item in components(manifest))
    yield from chain.from_iterable(own)
    for path, _, link in links(manifest):
        yield from indexed((*path, "properties", "target", "config"), link.target.config)
        yield from indexed((*path, "properties", "source", "config"), link.source.config if link.source else [])


def one_value_per_link(manifest: Manifest, data: Any) -> Iterator[Draft]:
    """Two traits about one link: their interfaces are put together, their configs cannot be."""
    first: dict[tuple[str, ...], Any] = {}
    for path, component, link in links(manifest):
        key = (component.name, link.target.name, link.namespace, link.package, link.name)
        other = first.setdefault(key, link)
        if (other.target, other.source) != (link.target, link.source):
            label = f"{link.namespace}:{link.package}, name '{link.name}'"
            what = f"'{component.name}' is linked to '{link.target.name}' twice ({label})"
            message = f"Component {what} with different configs."
            yield Draft("link-differs", path, message, "Give both the same configs, or one of them another link name.")


def spread_overlaps(manifest: Manifest, data: Any) -> Iterator[Draft]:
    for path, component in components(manifest):
        for t, trait in enumerate(component.traits or ()):
            if not isinstance(trait, ScalerTrait):
                continue
            spreads = trait.properties.spread
            for i, spread in enumerate(spreads):
                place = (*path, "traits", t, "properties", "spread", i)
                for label, value in _NEVER.items():
                    if spread.requirements.get(label) == value:
                        message = (
                            f"The spread '{spread.name}' requires {label}={value}, but such hosts take nothing new."
                        )
                        remedy = f"Remove the requirement '{label}'."
                        yield Draft("spread-unsatisfiable", (*place, "requirements", label), message, remedy)
                if trait.daemon:
                    yield from _daemon_overlap(component.name, spread, spreads[:i], (*place, "requirements"))


def _daemon_overlap(component: str, spread: SpreadEntry, earlier: list[SpreadEntry], place: Path) -> Iterator[Draft]:
    """A host belongs to the first spread that it fits, since a daemon runs once on each."""
    for other in earlier:
        if other.requirements.items() <= spread.requirements.items():
            message = f"Every host that fits the spread '{spread.name}' of '{component}' fits '{other.name}' before it."
            yield Draft(
                "spread-shadowed", place, message, "Remove one of them, or require something that tells them apart."
            )
        elif all(spread.requirements.get(key, value) == value for key, value in other.requirements.items()):
            message = (
                f"A host may fit both spreads '{other.name}' and '{spread.name}' of '{component}'; the first counts."
            )
            remedy = "Require different values of one label if that is not what is meant."
            yield Draft("spread-overlap", place, message, remedy, Level.WARNING)
        else:
            continue
        return
