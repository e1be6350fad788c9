"""Who may run on a host: what is signed must be signed well, and a policy service, if there is one, must agree."""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from trellis_host.runtime.claims import Signature, read_signature
from trellis_host.runtime.components import RunningComponent
from trellis_host.runtime.config_service import ask_config_service
from trellis_host.runtime.policy import PolicyService
from trellis_host.runtime.registries import Registries
from trellis_host.settings import HostSettings
from trellis_host.state import ComponentSpec, HostState, Outcome, ProviderSpec
from trellis_lattice.bus.connection import Connection
from trellis_lattice.control.host import HostInventory
from trellis_lattice.control.policy import (
    ComponentRequest,
    InvocationRequest,
    Kind,
    PolicyClaims,
    PolicyHost,
    PolicyRequest,
    ProviderRequest,
)
from trellis_lattice.events import ComponentScaled, Event
from trellis_lattice.invocation.api import Call

__all__ = ["Admission", "GuardedComponent", "Permit", "revocation"]

Permit = Callable[[str, str], Awaitable[None]]
"""(interface, function): returns if the call may be, else raises `Denied`."""

_MAX_SIGNATURES = 4096
CONFIG_SERVICE_TIMEOUT = 2.0
"""Seconds for the config service to answer."""


class Admission:
    """`clock`: seconds since 1970."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.policy: PolicyService | None = None
        """None: everything is permitted."""
        self._signatures: OrderedDict[tuple[str, str], Signature] = OrderedDict()
        """By component id and image."""

    async def open(
        self,
        connection: Connection,
        settings: HostSettings,
        state: HostState,
        registries: Registries,
        *,
        apply: Callable[[Outcome], object],
    ) -> None:
        """Turns to the services that the host was told of. `apply` stops what is no longer permitted."""
        if settings.config_service:
            deadline = asyncio.get_running_loop().time() + CONFIG_SERVICE_TIMEOUT
            await ask_config_service(connection, settings.lattice, state.labels, registries, deadline=deadline)
        if settings.policy is None:
            return

        def host() -> PolicyHost:
            return PolicyHost(public_key=state.host_id, lattice=settings.lattice, labels=dict(state.labels))

        def revoked(request: PolicyRequest) -> None:
            outcome = revocation(state, request)
            if outcome is not None:
                apply(outcome)

        self.policy = PolicyService(
            connection, settings.policy, host, new_id=lambda: str(uuid.uuid4()), revoked=revoked
        )
        await self.policy.start()

    async def aclose(self) -> None:
        if self.policy is not None:
            await self.policy.aclose()

    async def component(self, spec: ComponentSpec, wasm: bytes) -> Signature | None:
        """Raises `Denied` if this component may not start; else says who signed it."""
        signature = await asyncio.to_thread(read_signature, wasm, spec.image, self._clock())
        key = (spec.id, spec.image)
        self._signatures.pop(key, None)
        if signature is not None:
            self._signatures[key] = signature
            if len(self._signatures) > _MAX_SIGNATURES:
                self._signatures.popitem(last=False)
        if self.policy is not None:
            await self.policy.permit(Kind.START_COMPONENT, self._asked(spec), f"component {spec.id} ({spec.image})")
        return signature

    async def provider(self, spec: ProviderSpec) -> None:
        """Raises `Denied` if this provider may not start."""
        if self.policy is not None:
            request = ProviderRequest(
                provider_id=spec.id, image_ref=spec.image, annotations=dict(spec.annotations), claims=None
            )
            await self.policy.permit(Kind.START_PROVIDER, request, f"provider {spec.id} ({spec.image})")

    def invocations(self, spec: ComponentSpec) -> Permit | None:
        """What decides about each function of a component; None if all may be called."""
        policy = self.policy
        if policy is None:
            return None

        async def permit(interface: str, function: str) -> None:
            request = InvocationRequest(interface=interface, function=function, target=self._asked(spec))
            await policy.permit(Kind.PERFORM_INVOCATION, request, f"calls of {interface}.{function} of {spec.id}")

        return permit

    def signature(self, component: str, image: str) -> Signature | None:
        """Who signed a component of this host."""
        return self._signatures.get((component, image))

    def named(self, inventory: HostInventory) -> HostInventory:
        """The inventory with the names and revisions of what is signed."""
        signatures = [(each, self.signature(each.id, each.image_ref)) for each in inventory.components]
        components = tuple(
            each.model_copy(update={"name": signed.claims.name, "revision": signed.revision}) if signed else each
            for each, signed in signatures
        )
        return inventory.model_copy(update={"components": components})

    def tell(self, event: Event) -> Event:
        """The event with the claims of the component it is about, if that is signed."""
        if not isinstance(event, ComponentScaled):
            return event
        signature = self.signature(event.component_id, event.image_ref)
        if signature is None:
            return event
        told = {"public_key": signature.claims.subject, "claims": signature.in_event(self._clock())}
        return event.model_copy(update=told)

    def _asked(self, spec: ComponentSpec) -> ComponentRequest:
        signature = self.signature(spec.id, spec.image)
        return ComponentRequest(
            component_id=spec.id,
            image_ref=spec.image,
            max_instances=spec.max_instances,
            annotations=dict(spec.annotations),
            claims=PolicyClaims.model_validate(signature.in_policy_request(self._clock())) if signature else None,
        )


class GuardedComponent(RunningComponent):
    """A component each of whose calls a policy service must permit."""

    def __init__(self, *given: Any, permit: Permit, **named: Any) -> None:
        super().__init__(*given, **named)
        self._permit = permit

    async def serve(self, call: Call) -> Any:
        await self._permit(call.interface, call.function)
        return await super().serve(call)

    def begin(self, call: Call) -> Any:
        return self.serve(call)


def revocation(state: HostState, request: PolicyRequest) -> Outcome | None:
    """How to stop what was permitted and no longer is; None if it does not run here."""
    match request.request:
        case ComponentRequest(component_id=id, image_ref=image) if request.kind is Kind.START_COMPONENT:
            if _concerned(id, image, state, {each.id: each.image for each in state.components}):
                return state.scale(ComponentSpec(id, image, 0))
        case ProviderRequest(provider_id=id, image_ref=image):
            if _concerned(id, image, state, {each.id: each.image for each in state.providers}):
                return state.stop_provider(id)
    return None


def _concerned(id: str, image: str, state: HostState, running: Mapping[str, str]) -> bool:
    """Whether it runs, or is about to."""
    return running.get(id) == image or (id not in running and id in state.starting)
