"""The OAM application as wadm v1 reads it (wadm-types 0.8), one class per block of the manifest.

The laws of this file: a key that v1 rejects is rejected (`_Closed`), a key that v1 ignores is ignored
(`_Open`); aliases (`actor`, `replicas`) and the legacy link form are turned into the current form on the way
in, so that what is stored is canonical. `annotations` of a component is ours (docs/manifests.md): v1 ignores it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

__all__ = [
    "APP_KIND",
    "Component",
    "ConfigEntry",
    "CustomTrait",
    "LinkProperties",
    "LinkTrait",
    "Manifest",
    "Policy",
    "ScalerProperties",
    "ScalerTrait",
    "SecretEntry",
    "SharedReference",
    "SpreadEntry",
    "Trait",
]

APP_KIND = "Application"
SHARED_ANNOTATION = "experimental.wasmcloud.dev/shared"
VERSION_ANNOTATION = "version"
DESCRIPTION_ANNOTATION = "description"

_MAX_INSTANCES = 2**32 - 1
"""`instances` is a u32 on the wire; this value means no bound."""


class _Open(BaseModel):
    # Built on first use, once, through `Manifest`: every host imports this when it starts.
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True, defer_build=True)


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, defer_build=True)


class ConfigEntry(_Closed):
    """A named config; without `properties` it refers to one that exists already."""

    name: str
    properties: dict[str, str] | None = None


class SecretProperties(_Open):
    policy: str
    key: str
    field: str | None = None
    version: str | None = None


class SecretEntry(_Open):
    name: str
    properties: SecretProperties


class SharedReference(_Open):
    """A component of another application, used instead of an own one."""

    name: str
    component: str


class Properties(_Closed):
    """What a component or capability runs: exactly one of `image` and `application`."""

    image: str | None = None
    application: SharedReference | None = None
    id: str | None = None
    config: list[ConfigEntry] = Field(default_factory=list)
    secrets: list[SecretEntry] = Field(default_factory=list)


class SpreadEntry(_Closed):
    name: str
    requirements: dict[str, str]
    weight: Annotated[int, Field(strict=True, ge=0, le=2**31)] | None = None


class ScalerProperties(_Closed):
    instances: Annotated[int, Field(strict=True, ge=0, le=_MAX_INSTANCES)] = Field(
        validation_alias=AliasChoices("instances", "replicas")
    )
    spread: list[SpreadEntry] = Field(default_factory=list)


class LinkTarget(_Open):
    name: str
    config: list[ConfigEntry] = Field(default_factory=list)
    secrets: list[SecretEntry] = Field(default_factory=list)


class LinkSource(_Open):
    config: list[ConfigEntry] = Field(default_factory=list)
    secrets: list[SecretEntry] = Field(default_factory=list)


class LinkProperties(_Open):
    namespace: str
    package: str
    interfaces: list[str]
    target: LinkTarget
    source: LinkSource | None = None
    name: str = "default"

    @model_validator(mode="before")
    @classmethod
    def _legacy(cls, data: Any) -> Any:
        """`target: name` with sibling `target_config`; `source_config`, which a `source` block overrides."""
        if not isinstance(data, Mapping):
            return data
        result = {key: value for key, value in data.items() if key not in ("target_config", "source_config")}
        if isinstance(data.get("target"), str):
            result["target"] = {"name": data["target"], "config": data.get("target_config") or []}
        if data.get("source") is None and data.get("source_config") is not None:
            result["source"] = {"config": data["source_config"]}
        return result

    @field_validator("name", mode="before")
    @classmethod
    def _default_name(cls, value: Any) -> Any:
        return "default" if value is None else value


class LinkTrait(_Closed):
    type: str
    properties: LinkProperties


class ScalerTrait(_Closed):
    """`spreadscaler` or `daemonscaler`; `daemon` tells which."""

    type: str
    properties: ScalerProperties

    @property
    def daemon(self) -> bool:
        return self.type == "daemonscaler"


class CustomTrait(_Closed):
    """A trait that is neither a link nor a scaler: kept, not acted upon."""

    type: str
    properties: dict[str, Any]


def trait_shape(data: Any) -> str:
    """Which class reads a trait: by its type where that is known, else by its properties, as v1 does."""
    kind = data.get("type") if isinstance(data, Mapping) else getattr(data, "type", None)
    if kind == "link":
        return "link"
    if kind in ("spreadscaler", "daemonscaler"):
        return "scaler"
    properties = data.get("properties") if isinstance(data, Mapping) else getattr(data, "properties", None)
    if isinstance(properties, LinkProperties):
        return "link"
    if isinstance(properties, ScalerProperties):
        return "scaler"
    if isinstance(properties, Mapping):
        if properties.keys() >= {"namespace", "package", "interfaces", "target"}:
            return "link"
        if properties.keys() & {"instances", "replicas"} and properties.keys() <= {"instances", "replicas", "spread"}:
            return "scaler"
    return "custom"


Trait = Annotated[
    Annotated[LinkTrait, Tag("link")] | Annotated[ScalerTrait, Tag("scaler")] | Annotated[CustomTrait, Tag("custom")],
    Discriminator(trait_shape),
]


class Component(_Open):
    """A component (`type: component`) or a provider (`type: capability`)."""

    name: str
    type: Literal["component", "capability"]
    properties: Properties
    traits: list[Trait] | None = None
    annotations: dict[str, str] = Field(default_factory=dict)

    @field_validator("type", mode="before")
    @classmethod
    def _alias(cls, value: Any) -> Any:
        return "component" if value == "actor" else value

    @property
    def is_provider(self) -> bool:
        return self.type == "capability"

    @property
    def links(self) -> list[LinkProperties]:
        return [trait.properties for trait in self.traits or [] if isinstance(trait, LinkTrait)]

    @property
    def scaler(self) -> ScalerTrait | None:
        """The first scaler trait, which is the one that counts."""
        return next((trait for trait in self.traits or [] if isinstance(trait, ScalerTrait)), None)


class Policy(_Open):
    name: str
    type: str
    properties: dict[str, str] = Field(default_factory=dict)


class Metadata(_Open):
    name: str
    annotations: dict[str, str]
    labels: dict[str, str] = Field(default_factory=dict)


class Spec(_Open):
    components: list[Component]
    policies: list[Policy] = Field(default_factory=list)


class Manifest(_Closed):
    """One OAM application."""

    api_version: str = Field(alias="apiVersion")
    kind: str
    metadata: Metadata
    spec: Spec

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def version(self) -> str | None:
        return self.metadata.annotations.get(VERSION_ANNOTATION)

    @property
    def description(self) -> str | None:
        return self.metadata.annotations.get(DESCRIPTION_ANNOTATION)

    @property
    def shared(self) -> bool:
        """Whether other applications may refer to components of this one."""
        return self.metadata.annotations.get(SHARED_ANNOTATION) == "true"

    def component(self, name: str) -> Component | None:
        return next((component for component in self.spec.components if component.name == name), None)

    def with_version(self, version: str) -> Manifest:
        """The same manifest under another version."""
        annotations = {**self.metadata.annotations, VERSION_ANNOTATION: version}
        metadata = self.metadata.model_copy(update={"annotations": annotations})
        return self.model_copy(update={"metadata": metadata})

    def to_wire(self) -> dict[str, Any]:
        """The canonical JSON form that v1 stores and returns."""
        return self.model_dump(by_alias=True, exclude_unset=True, exclude_none=True)
