"""Which model reads which place of a manifest: the source of `did you mean` and of warnings for unread keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import AliasChoices, BaseModel

from trellis_wadm.manifest import model
from trellis_wadm.manifest.findings import Path
from trellis_wadm.manifest.model import Manifest

__all__ = ["descend", "keys_of", "shape_at"]


def keys_of(shape: type[BaseModel]) -> tuple[str, ...]:
    """Every key that a model reads, aliases included."""
    names: list[str] = []
    for name, info in shape.model_fields.items():
        alias = info.validation_alias
        if isinstance(alias, AliasChoices):
            names.extend(str(choice) for choice in alias.choices)
        else:
            names.append(alias if isinstance(alias, str) else name)
    if shape is model.LinkProperties:
        names += ["source_config", "target_config"]
    return tuple(names)


def shape_at(data: Any, path: Path) -> type[BaseModel] | None:
    """The model that reads the mapping at a path; None where keys are free or the place does not exist."""
    shape: Any = Manifest
    current = data
    for step in path:
        exists, current = descend(current, step)
        shape = _child(shape, step, current) if exists else None
        if shape is None:
            return None
    return shape if isinstance(shape, type) else None


def descend(data: Any, step: str | int) -> tuple[bool, Any]:
    """Whether `data` has something under a key or position, and what."""
    if isinstance(data, Mapping) and step in data:
        return True, data[step]
    if isinstance(data, list) and isinstance(step, int) and step < len(data):
        return True, data[step]
    return False, None


def _child(shape: Any, step: str | int, value: Any) -> Any:
    """The shape below `shape`; a list is represented by the shape of its items in a tuple."""
    if isinstance(shape, tuple):
        return _TRAITS[model.trait_shape(value)] if shape == (model.Trait,) else shape[0]
    return _CHILDREN.get((shape, step))


_TRAITS: Mapping[str, Any] = {"link": model.LinkTrait, "scaler": model.ScalerTrait, "custom": model.CustomTrait}
_CONFIGS = (model.ConfigEntry,)
_SECRETS = (model.SecretEntry,)
_CHILDREN: Mapping[tuple[Any, Any], Any] = {
    (Manifest, "metadata"): model.Metadata,
    (Manifest, "spec"): model.Spec,
    (model.Spec, "components"): (model.Component,),
    (model.Spec, "policies"): (model.Policy,),
    (model.Component, "properties"): model.Properties,
    (model.Component, "traits"): (model.Trait,),
    (model.Properties, "application"): model.SharedReference,
    (model.Properties, "config"): _CONFIGS,
    (model.Properties, "secrets"): _SECRETS,
    (model.SecretEntry, "properties"): model.SecretProperties,
    (model.ScalerTrait, "properties"): model.ScalerProperties,
    (model.ScalerProperties, "spread"): (model.SpreadEntry,),
    (model.LinkTrait, "properties"): model.LinkProperties,
    (model.LinkProperties, "target"): model.LinkTarget,
    (model.LinkProperties, "source"): model.LinkSource,
    (model.LinkTarget, "config"): _CONFIGS,
    (model.LinkTarget, "secrets"): _SECRETS,
    (model.LinkSource, "config"): _CONFIGS,
    (model.LinkSource, "secrets"): _SECRETS,
}
