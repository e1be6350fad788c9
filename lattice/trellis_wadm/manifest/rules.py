"""What a decoded manifest must obey (lattice-protocol 7.4), one function for each rule.

To add a rule: write a function that yields drafts, each with a code, a path and a text, and add it to `RULES`.
Order matters once: the first error of a manifest is what v1's API answers to a put.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from trellis_wadm.manifest import placement
from trellis_wadm.manifest.conflict_rules import (
    one_scaler,
    one_value_per_config,
    one_value_per_link,
    spread_overlaps,
    unique_lattice_ids,
)
from trellis_wadm.manifest.findings import Level, Path
from trellis_wadm.manifest.link_rules import (
    custom_links,
    deprecated_link_configs,
    known_interfaces,
    link_configs,
    link_targets_exist,
    one_listener_per_address,
    unique_link_configs,
    unique_links,
)
from trellis_wadm.manifest.model import APP_KIND, VERSION_ANNOTATION, Manifest, ScalerTrait, SecretEntry
from trellis_wadm.manifest.walks import Draft, Rule, components, indexed, links
from trellis_wadm.quantities import ANNOTATIONS, PREFIX, bad_annotations

__all__ = ["RULES", "Draft", "validate"]


_CONFIG_NAME = re.compile(r"[A-Za-z0-9_=/-]+")
_NAME = re.compile(r"[-\w]+", re.ASCII)
_KEY_NAME = re.compile(r"[A-Za-z0-9](?:[-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?")
_DOMAIN_PART = re.compile(r"[A-Za-z](?:[-A-Za-z0-9]*[A-Za-z0-9])?")
_SECRET_POLICY = "policy.secret.wasmcloud.dev/v1alpha1"


def validate(manifest: Manifest, data: Any) -> list[Draft]:
    """Everything that is wrong or doubtful in a decoded manifest, in the order of the rules."""
    return [draft for rule in RULES for draft in rule(manifest, data)]


def application_kind(manifest: Manifest, data: Any) -> Iterator[Draft]:
    if manifest.kind != APP_KIND:
        message = f"The kind is '{manifest.kind}', not '{APP_KIND}'."
        yield Draft("kind", ("kind",), message, f"Use 'kind: {APP_KIND}'.", Level.WARNING)


def application_name(manifest: Manifest, data: Any) -> Iterator[Draft]:
    if not _NAME.fullmatch(manifest.name):
        message = f"manifest name [{manifest.name}] is not allowed (should match regex ^[-\\w]+$)"
        yield Draft("bad-name", ("metadata", "name"), message, "Use letters, digits, '-' and '_'.")


def version_not_latest(manifest: Manifest, data: Any) -> Iterator[Draft]:
    if manifest.version == "latest":
        path = ("metadata", "annotations", VERSION_ANNOTATION)
        yield Draft("version-latest", path, "latest is not allowed in wadm", "Name the version, e.g. v0.1.0.")


def label_keys(manifest: Manifest, data: Any) -> Iterator[Draft]:
    for block, keys in (("annotations", manifest.metadata.annotations), ("labels", manifest.metadata.labels)):
        for key in keys:
            if not _is_label_key(key):
                message = f"Invalid OAM {block.removesuffix('s')}: '{key}'"
                remedy = "Expected [dns-subdomain/]name of letters, digits, '-', '_' and '.'."
                yield Draft("bad-label", ("metadata", block, key), message, remedy)


def _is_label_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    if not _KEY_NAME.fullmatch(name):
        return False
    if not slash:
        return True
    return len(prefix) <= 253 and all(_DOMAIN_PART.fullmatch(part) for part in prefix.split("."))


def unique_component_names(manifest: Manifest, data: Any) -> Iterator[Draft]:
    seen: set[str] = set()
    for path, component in components(manifest):
        if component.name in seen:
            message = f"Duplicate component name in manifest: {component.name}"
            yield Draft("duplicate-component", (*path, "name"), message, "Give each component a name of its own.")
        seen.add(component.name)


def unique_component_ids(manifest: Manifest, data: Any) -> Iterator[Draft]:
    seen: set[str] = set()
    for path, component in components(manifest):
        if (identifier := component.properties.id) is None:
            continue
        if identifier in seen:
            message = f"Duplicate component identifier in manifest: {identifier}"
            yield Draft("duplicate-id", (*path, "properties", "id"), message, "Leave 'id' out to get one of its own.")
        if not _NAME.fullmatch(identifier):
            message = f"The component identifier '{identifier}' cannot be used in a lattice."
            yield Draft("bad-id", (*path, "properties", "id"), message, "Use letters, digits, '-' and '_'.")
        seen.add(identifier)


def secrets_have_policies(manifest: Manifest, data: Any) -> Iterator[Draft]:
    policies = {policy.name: policy for policy in manifest.spec.policies}
    for path, secret in _secrets(manifest):
        name = secret.properties.policy
        place = (*path, "properties", "policy")
        policy = policies.get(name)
        if policy is None:
            message = f"secret '{secret.name}' is mapped to unknown policy '{name}'"
            yield Draft("secret-policy", place, message, "Declare it under spec.policies.")
        elif policy.type != _SECRET_POLICY:
            message = f"secret '{secret.name}' is mapped to policy '{name}' which is not a secret policy"
            yield Draft("secret-policy", place, message, f"A secret policy has the type '{_SECRET_POLICY}'.")
        elif "backend" not in policy.properties:
            message = f"secret '{secret.name}' is mapped to policy '{name}' which does not include a 'backend' property"
            yield Draft("secret-policy", place, message, "Add 'backend' to the properties of the policy.")


def _secrets(manifest: Manifest) -> Iterator[tuple[Path, SecretEntry]]:
    for path, component in components(manifest):
        yield from indexed((*path, "properties", "secrets"), component.properties.secrets)
    for path, _, link in links(manifest):
        yield from indexed((*path, "properties", "target", "secrets"), link.target.secrets)
        yield from indexed((*path, "properties", "source", "secrets"), link.source.secrets if link.source else [])


def image_or_application(manifest: Manifest, data: Any) -> Iterator[Draft]:
    for path, component in components(manifest):
        properties = component.properties
        if properties.image is not None and properties.application is not None:
            message = f"Component '{component.name}' cannot have both 'image' and 'application' properties"
            yield Draft("image-and-application", (*path, "properties"), message, "Keep one of them.")
        elif properties.image is None and properties.application is None:
            message = f"Component '{component.name}' must have either 'image' or 'application' property"
            remedy = "Add 'image', e.g. file:///path/to/component.wasm or an http(s) URL."
            yield Draft("missing-image", (*path, "properties"), message, remedy)
        elif properties.image is not None and not properties.image.strip():
            message = f"The image of component '{component.name}' is empty."
            yield Draft("missing-image", (*path, "properties", "image"), message, "Name a file, an URL or a reference.")


def shared_references_are_bare(manifest: Manifest, data: Any) -> Iterator[Draft]:
    for path, component in components(manifest):
        if (reference := component.properties.application) is None:
            continue
        extra = [name for name in ("config", "secrets") if getattr(component.properties, name)]
        if component.scaler is not None:
            extra.append("scaler traits")
        for name in extra:
            message = f"Shared component '{reference.name}' cannot specify additional '{name}'"
            remedy = f"Set them in the application '{reference.name}'."
            yield Draft("shared-component", path, message, remedy)


def own_annotations(manifest: Manifest, data: Any) -> Iterator[Draft]:
    for path, component in components(manifest):
        for key, expected in bad_annotations(component.annotations):
            message = f"'{component.annotations[key]}' is not a value of '{key}'."
            yield Draft("bad-annotation", (*path, "annotations", key), message, f"Expected {expected}.")
        for key in component.annotations:
            if key.startswith(PREFIX) and key not in ANNOTATIONS:
                close = difflib.get_close_matches(key, ANNOTATIONS, n=1)
                remedy = f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(ANNOTATIONS)}."
                message = f"The annotation '{key}' is not known, and is ignored."
                yield Draft("unknown-annotation", (*path, "annotations", key), message, remedy, Level.WARNING)


def config_names(manifest: Manifest, data: Any) -> Iterator[Draft]:
    """A config that exists already is named as the lattice names it."""
    places = [indexed((*path, "properties", "config"), item.properties.config) for path, item in components(manifest)]
    for place, entry in [*chain.from_iterable(places), *link_configs(manifest)]:
        if entry.properties is None and not _CONFIG_NAME.fullmatch(entry.name):
            message = f"'{entry.name}' cannot be the name of a config."
            remedy = "Use letters, digits, '-', '_', '/' and '=', or add 'properties' to define it here."
            yield Draft("bad-config-name", (*place, "name"), message, remedy)


def spread_names_and_weights(manifest: Manifest, data: Any) -> Iterator[Draft]:
    for path, component in components(manifest):
        for t, trait in enumerate(component.traits or ()):
            if not isinstance(trait, ScalerTrait):
                continue
            place = (*path, "traits", t, "properties", "spread")
            seen: set[str] = set()
            for i, entry in enumerate(trait.properties.spread):
                if entry.name in seen:
                    message = f"Component '{component.name}' has two spreads named '{entry.name}'."
                    yield Draft("duplicate-spread", (*place, i, "name"), message, "Give each a name of its own.")
                seen.add(entry.name)
            weights = [100 if entry.weight is None else entry.weight for entry in trait.properties.spread]
            if weights and sum(weights) == 0:
                message = f"The spreads of component '{component.name}' have no weight at all."
                yield Draft("zero-weight", place, message, "Give at least one of them a weight above 0.")


def placement_policies(manifest: Manifest, data: Any) -> Iterator[Draft]:
    """A policy that is misspelt would be ignored in silence, as v1 does."""
    for i, key, code, message, remedy in placement.problems(manifest):
        place: Path = ("spec", "policies", i, *(("properties", key) if key else ()))
        yield Draft(code, place, message, remedy)


RULES: Sequence[Rule] = (
    application_name,
    version_not_latest,
    label_keys,
    unique_component_names,
    unique_component_ids,
    unique_lattice_ids,
    image_or_application,
    shared_references_are_bare,
    link_targets_exist,
    secrets_have_policies,
    custom_links,
    own_annotations,
    config_names,
    spread_names_and_weights,
    spread_overlaps,
    placement_policies,
    unique_links,
    one_value_per_link,
    unique_link_configs,
    one_value_per_config,
    one_listener_per_address,
    application_kind,
    one_scaler,
    known_interfaces,
    deprecated_link_configs,
)
