"""Placement policies of a manifest: how its workloads are updated and moved (docs/manifests.md, ADR 0005).

They stand under `spec.policies`, where v1 keeps maps of text and ignores types that it does not know.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from trellis_wadm.manifest.model import Manifest, Policy

__all__ = ["DEFAULT", "FAMILY", "TYPE", "PlacementPolicy", "placement_of", "problems"]

FAMILY = "policy.placement.trellis.dev/"
TYPE = f"{FAMILY}v1alpha1"

_MOST = 1000
"""Hosts that one policy may change at the same time."""


@dataclass(frozen=True, slots=True)
class PlacementPolicy:
    """What a manifest says about changing what runs.

    `even`: hosts that join take their share of what runs, `max_moves` hosts at a time for each component.
    `recreate`: an update ends the old image everywhere before the new one starts; else `parallel` hosts are
    updated at a time.
    """

    even: bool = False
    max_moves: int = 1
    recreate: bool = False
    parallel: int = 1


DEFAULT = PlacementPolicy()

_WORDS: Mapping[str, tuple[str, ...]] = {"rebalance": ("never", "even"), "update": ("rolling", "recreate")}
_NUMBERS = ("max-moves", "update-parallel")
_COMPONENTS = "components"
_KEYS = (*_WORDS, *_NUMBERS, _COMPONENTS)
_NUMBER = re.compile(r"[1-9][0-9]{0,3}")


def placement_of(manifest: Manifest) -> dict[str, PlacementPolicy]:
    """The policy of each component that has one, by name; one that names a component counts before a general one.

    Values that validation refuses count as not given: another tool may have stored them.
    """
    found: dict[str, PlacementPolicy] = {}
    policies = [policy for policy in manifest.spec.policies if policy.type == TYPE]
    for policy in sorted(policies, key=lambda policy: bool(_names(policy))):
        names = _names(policy) or [component.name for component in manifest.spec.components]
        found.update(dict.fromkeys(names, _read(policy.properties)))
    return found


def problems(manifest: Manifest) -> Iterator[tuple[int, str | None, str, str, str]]:
    """(position of the policy, its property, code, message, remedy) of all that is wrong."""
    components = [component.name for component in manifest.spec.components]
    owner: dict[str, str] = {}
    for i, policy in enumerate(manifest.spec.policies):
        if policy.type.startswith(FAMILY) and policy.type != TYPE:
            message = f"The policy '{policy.name}' has the unknown type '{policy.type}'."
            yield i, None, "unknown-policy", message, f"Use the type '{TYPE}'."
        if policy.type != TYPE:
            continue
        for key, value in policy.properties.items():
            if (problem := _problem(key, value, components)) is not None:
                code, what, remedy = problem
                yield i, key, code, f"The policy '{policy.name}' {what}", remedy
        for name in _names(policy) or [""]:
            other = owner.setdefault(name, policy.name)
            if other != policy.name or (name and _names(policy).count(name) > 1):
                message = f"Two placement policies, '{other}' and '{policy.name}', are for {name or 'all components'}."
                remedy = "Keep one of them, or name the components of each under 'components'."
                yield i, _COMPONENTS if name else None, "several-policies", message, remedy


def _names(policy: Policy) -> list[str]:
    return [name.strip() for name in policy.properties.get(_COMPONENTS, "").split(",") if name.strip()]


def _read(properties: Mapping[str, str]) -> PlacementPolicy:
    return PlacementPolicy(
        even=properties.get("rebalance") == "even",
        max_moves=_number(properties, "max-moves"),
        recreate=properties.get("update") == "recreate",
        parallel=_number(properties, "update-parallel"),
    )


def _number(properties: Mapping[str, str], key: str) -> int:
    text = properties.get(key, "")
    return min(int(text), _MOST) if _NUMBER.fullmatch(text) else 1


def _problem(key: str, value: str, components: list[str]) -> tuple[str, str, str] | None:
    """(code, what is wrong, remedy) of one property, or None."""
    if key in _WORDS:
        if value in _WORDS[key]:
            return None
        return "bad-policy-value", f"has '{key}: {value}'.", f"Expected one of: {', '.join(_WORDS[key])}."
    if key in _NUMBERS:
        if _NUMBER.fullmatch(value) and int(value) <= _MOST:
            return None
        return "bad-policy-value", f"has '{key}: {value}'.", f"Expected a number from 1 to {_MOST}, in quotes."
    if key == _COMPONENTS:
        listed = [name.strip() for name in value.split(",")]
        unknown = [name for name in listed if name not in components]
        if not unknown:
            return None
        what = f"is for '{unknown[0]}', which is no component of this application."
        return "policy-component", what, f"Expected names separated by commas, of: {', '.join(components)}."
    close = difflib.get_close_matches(key, _KEYS, n=1)
    remedy = f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(_KEYS)}."
    return "unknown-policy-property", f"has the unknown property '{key}'.", remedy
