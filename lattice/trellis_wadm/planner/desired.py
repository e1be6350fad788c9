"""What is asked for: deployed manifests, turned into scalers (lattice-protocol 7.5). Pure.

A scaler is one thing that must hold: a config has these properties, a link exists, a workload runs so often.
Each knows the application it belongs to, so that what nobody asks for any more can be told from what is foreign.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from trellis_lattice.errors import TrellisError
from trellis_lattice.links import Link
from trellis_wadm import naming, quantities
from trellis_wadm.manifest import placement
from trellis_wadm.manifest.listeners import is_listening
from trellis_wadm.manifest.model import Component, ConfigEntry, LinkProperties, Manifest, SecretEntry

__all__ = [
    "Application",
    "ConfigScaler",
    "Desired",
    "LinkScaler",
    "Scaler",
    "Spread",
    "WorkloadScaler",
    "desired_application",
    "desired_of",
    "explicit_ids",
    "unresolved_references",
    "workload_id",
]


@dataclass(frozen=True, slots=True)
class Spread:
    """A part of the hosts, chosen by labels, and its weight."""

    name: str
    requirements: Mapping[str, str]
    weight: int | None = None


DEFAULT_SPREAD = Spread("default", {})


@dataclass(frozen=True, slots=True)
class ConfigScaler:
    """A named config; `properties` None if it only has to exist."""

    id: str
    app: str
    name: str
    properties: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class LinkScaler:
    """A link between two workloads. `problem` says why it can never be made."""

    id: str
    app: str
    link: Link
    component: str
    """Name of the target in the manifest."""
    listens: bool = False
    """Whether this link makes its source listen for HTTP."""
    provider_config: tuple[str, ...] = ()
    """Names of the configs of the source, where it listens."""
    problem: str | None = None

    @property
    def name(self) -> str:
        link = self.link
        return f"{link.source_id} -({link.wit_namespace}:{link.wit_package})-> {link.target}"

    @property
    def config(self) -> tuple[str, ...]:
        return (*self.link.source_config, *self.link.target_config)


@dataclass(frozen=True, slots=True)
class WorkloadScaler:
    """A component or provider, its number, and the hosts that may run it. `daemon`: on each of them."""

    id: str
    app: str
    component: str
    """Its name in the manifest."""
    workload: str
    """Its id in the lattice."""
    provider: bool
    daemon: bool
    image: str
    instances: int
    spreads: tuple[Spread, ...]
    config: tuple[str, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)
    policy: placement.PlacementPolicy = placement.DEFAULT

    @property
    def name(self) -> str:
        return self.workload


Scaler = ConfigScaler | LinkScaler | WorkloadScaler


@dataclass(frozen=True, slots=True)
class Application:
    """One deployed application."""

    name: str
    version: str
    configs: tuple[ConfigScaler, ...] = ()
    links: tuple[LinkScaler, ...] = ()
    workloads: tuple[WorkloadScaler, ...] = ()
    problems: tuple[str, ...] = ()
    """What no plan can mend: only another manifest can."""

    @property
    def scalers(self) -> tuple[Scaler, ...]:
        return (*self.configs, *self.links, *self.workloads)


@dataclass(frozen=True, slots=True)
class Desired:
    """Every deployed application, by name."""

    applications: Mapping[str, Application] = field(default_factory=dict)

    def all_links(self) -> Iterator[LinkScaler]:
        for _, app in sorted(self.applications.items()):
            yield from app.links

    def all_workloads(self) -> Iterator[WorkloadScaler]:
        for _, app in sorted(self.applications.items()):
            yield from app.workloads

    def all_configs(self) -> Iterator[ConfigScaler]:
        for _, app in sorted(self.applications.items()):
            yield from app.configs


def desired_of(manifests: Iterable[Manifest], stored: Mapping[str, Manifest] | None = None) -> Desired:
    """The applications that these manifests ask for; `stored` resolves references to shared applications."""
    deployed = {manifest.name: manifest for manifest in manifests}
    known = {**(stored or {}), **deployed}
    return Desired({name: desired_application(manifest, known) for name, manifest in deployed.items()})


def workload_id(manifest: Manifest, component: Component, known: Mapping[str, Manifest]) -> str:
    """The id of a component in the lattice, following a reference to a shared application."""
    reference = component.properties.application
    if reference is None:
        return component.properties.id or naming.owned_name(manifest.name, component.name)
    other = known.get(reference.name)
    shared = other.component(reference.component) if other else None
    if shared is not None and shared.properties.id:
        return shared.properties.id
    return naming.owned_name(reference.name, reference.component)


def explicit_ids(manifest: Manifest) -> set[str]:
    """The ids that a manifest chose itself; two deployed applications may not choose the same."""
    return {component.properties.id for component in manifest.spec.components if component.properties.id is not None}


def unresolved_references(manifest: Manifest, known: Mapping[str, Manifest]) -> list[str]:
    """Why references to shared applications lead nowhere, one sentence each."""
    problems: list[str] = []
    for component in manifest.spec.components:
        reference = component.properties.application
        if reference is None:
            continue
        other = known.get(reference.name)
        if other is None:
            problems.append(f"There is no application '{reference.name}' for component '{component.name}' to share.")
        elif not other.shared:
            problems.append(
                f"The application '{reference.name}' is not shared, but component '{component.name}' uses it."
            )
        elif other.component(reference.component) is None:
            problems.append(f"The application '{reference.name}' has no component '{reference.component}' to share.")
    return problems


def desired_application(manifest: Manifest, known: Mapping[str, Manifest]) -> Application:
    """One manifest as scalers."""
    builder = _Builder(manifest, known)
    for component in manifest.spec.components:
        builder.add(component)
    return Application(
        manifest.name,
        manifest.version or "",
        tuple(builder.configs.values()),
        tuple(builder.links),
        tuple(builder.workloads),
        (*builder.problems, *unresolved_references(manifest, known)),
    )


class _Builder:
    """Gathers the scalers of one manifest."""

    def __init__(self, manifest: Manifest, known: Mapping[str, Manifest]) -> None:
        self._manifest = manifest
        self._app = manifest.name
        self._known = known
        self._policies = placement.placement_of(manifest)
        self._by_name = {component.name: component for component in manifest.spec.components}
        self.configs: dict[str, ConfigScaler] = {}
        self.links: list[LinkScaler] = []
        self.workloads: list[WorkloadScaler] = []
        self.problems: list[str] = []

    def add(self, component: Component) -> None:
        properties = component.properties
        names = self._configs(properties.config, properties.secrets)
        scaler = component.scaler
        if properties.image is not None and (scaler is not None or component.is_provider):
            self.workloads.append(self._workload(component, properties.image, names))
        for link in component.links:
            self._link(component, link)

    def _workload(self, component: Component, image: str, config: tuple[str, ...]) -> WorkloadScaler:
        trait = component.scaler
        daemon = trait is not None and trait.daemon
        workload = workload_id(self._manifest, component, self._known)
        kind = "DaemonScaler" if daemon else "SpreadScaler"
        scaler_id = naming.digest((kind, self._app, component.name, workload, image, *config))
        entries = trait.properties.spread if trait else []
        spreads = tuple(Spread(entry.name, entry.requirements, entry.weight) for entry in entries)
        return WorkloadScaler(
            id=scaler_id,
            app=self._app,
            component=component.name,
            workload=workload,
            provider=component.is_provider,
            daemon=daemon,
            image=image,
            instances=trait.properties.instances if trait else 1,
            spreads=spreads or (DEFAULT_SPREAD,),
            config=config,
            annotations={
                **{k: v for k, v in component.annotations.items() if not k.startswith("wasmcloud.dev/")},
                naming.MANAGED_BY_ANNOTATION: naming.MANAGER,
                naming.APP_ANNOTATION: self._app,
                naming.SCALER_ANNOTATION: scaler_id,
            },
            limits=quantities.component_limits(component.annotations),
            policy=self._policies.get(component.name, placement.DEFAULT),
        )

    def _link(self, source: Component, properties: LinkProperties) -> None:
        target = self._by_name.get(properties.target.name)
        if target is None:
            return
        side = properties.source
        source_config = self._configs(side.config, side.secrets) if side else ()
        try:
            link = Link(
                source_id=workload_id(self._manifest, source, self._known),
                target=workload_id(self._manifest, target, self._known),
                name=properties.name,
                wit_namespace=properties.namespace,
                wit_package=properties.package,
                interfaces=tuple(properties.interfaces),
                source_config=source_config,
                target_config=self._configs(properties.target.config, properties.target.secrets),
            )
        except (ValueError, TrellisError) as error:
            # Validation refuses such a link; a manifest stored by another tool may still have one.
            label = f"{source.name} -({properties.namespace}:{properties.package})-> {target.name}"
            self.problems.append(f"The link {label} cannot be made: {_first_line(error)}")
            return
        twin = next((i for i, other in enumerate(self.links) if _is_twin(other.link, link)), None)
        if twin is None:
            self.links.append(self._link_scaler(source, target, link))
        else:
            # There is one such link in the lattice, so what several traits say about it is put together.
            both = dict.fromkeys((*self.links[twin].link.interfaces, *link.interfaces))
            together = link.model_copy(update={"interfaces": tuple(both)})
            self.links[twin] = self._link_scaler(source, target, together)

    def _link_scaler(self, source: Component, target: Component, link: Link) -> LinkScaler:
        parts = (link.name, link.source_id, link.target, link.wit_namespace, link.wit_package, *link.interfaces)
        scaler_id = naming.digest(("LinkScaler", self._app, *parts, *link.source_config, *link.target_config))
        problem = "A provider cannot be linked to a provider." if source.is_provider and target.is_provider else None
        listens = source.is_provider and is_listening(link.wit_namespace, link.wit_package, link.interfaces)
        provider_config = self._provider_config(source) if listens else ()
        return LinkScaler(scaler_id, self._app, link, target.name, listens, provider_config, problem)

    def _provider_config(self, source: Component) -> tuple[str, ...]:
        """Lattice names of the source's own configs, wherever it is defined."""
        app, reference = self._app, source.properties.application
        if reference is not None:
            other = self._known.get(reference.name)
            shared = other.component(reference.component) if other else None
            if shared is None:
                return ()
            app, source = reference.name, shared
        return tuple(
            entry.name if entry.properties is None else naming.owned_name(app, entry.name)
            for entry in source.properties.config
        )

    def _configs(self, entries: Iterable[ConfigEntry], secrets: Iterable[SecretEntry]) -> tuple[str, ...]:
        names: list[str] = []
        for entry in entries:
            inline = entry.properties is not None
            name = naming.owned_name(self._app, entry.name) if inline else entry.name
            self._add_config(name, entry.properties)
            names.append(name)
        for secret in secrets:
            name = naming.secret_name(self._app, secret.name)
            self._add_config(name, self._secret_reference(secret))
            names.append(name)
        return tuple(names)

    def _add_config(self, name: str, properties: Mapping[str, str] | None) -> None:
        known = self.configs.get(name)
        if known is None or (known.properties is None and properties is not None):
            kind = "ConfigScaler"
            self.configs[name] = ConfigScaler(naming.digest((kind, self._app, name)), self._app, name, properties)

    def _secret_reference(self, secret: SecretEntry) -> dict[str, str]:
        """The flattened form of lattice-protocol 3.4."""
        wanted = secret.properties
        policy = next((p for p in self._manifest.spec.policies if p.name == wanted.policy), None)
        settings = dict(policy.properties) if policy else {}
        backend = settings.pop("backend", "")
        kind = "secret.wasmcloud.dev/v1alpha1"
        reference = {
            "name": secret.name,
            "type": kind,
            "backend": backend,
            "key": wanted.key,
            "policy": json.dumps({"type": f"properties.{kind}", "properties": settings}),
        }
        optional = {"field": wanted.field, "version": wanted.version}
        return reference | {key: value for key, value in optional.items() if value is not None}


def _is_twin(one: Link, other: Link) -> bool:
    """Whether both are the same link in storage, with the same configs."""
    return (one.key, one.source_config, one.target_config) == (other.key, other.source_config, other.target_config)


def _first_line(error: Exception) -> str:
    """pydantic's message has the rule in its third line: title, place, rule."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[1:3]) if len(lines) > 2 else "".join(lines[:1])
