"""What hosts ask a policy service, and what it answers (lattice-protocol 1.10). Pure.

Not a control operation: the subjects are the operator's choice, and there is no envelope. All keys are camel case.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from trellis_lattice.wire import Annotations, Labels, Ref, Text, WireModel

__all__ = [
    "ComponentRequest",
    "InvocationRequest",
    "Kind",
    "PolicyClaims",
    "PolicyDecision",
    "PolicyHost",
    "PolicyRequest",
    "ProviderRequest",
]


class Kind(StrEnum):
    """What is to be permitted."""

    START_COMPONENT = "startComponent"
    START_PROVIDER = "startProvider"
    PERFORM_INVOCATION = "performInvocation"


class _Camel(WireModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class PolicyClaims(_Camel):
    """Who signed it. Times in seconds since 1970; `issued_at` is text, as v1 writes it."""

    null_when_absent: ClassVar[frozenset[str]] = frozenset({"expires_at", "expiresAt"})

    public_key: str
    issuer: str
    issued_at: str
    expires_at: int | None = None
    expired: bool = False


class ComponentRequest(_Camel):
    """A component that is to start."""

    null_when_absent: ClassVar[frozenset[str]] = frozenset({"claims"})

    component_id: str
    image_ref: Ref
    max_instances: int
    annotations: Annotations = Field(default_factory=dict)
    claims: PolicyClaims | None = None


class ProviderRequest(_Camel):
    """A provider that is to start."""

    null_when_absent: ClassVar[frozenset[str]] = frozenset({"claims"})

    provider_id: str
    image_ref: Ref
    annotations: Annotations = Field(default_factory=dict)
    claims: PolicyClaims | None = None


class InvocationRequest(_Camel):
    """A function of a component that is to be called."""

    interface: str
    function: str
    target: ComponentRequest


class PolicyHost(_Camel):
    """The host that asks."""

    public_key: str
    lattice: str
    labels: Labels


RequestBody: TypeAlias = InvocationRequest | ComponentRequest | ProviderRequest


class PolicyRequest(_Camel):
    """One question."""

    request_id: str
    kind: Kind
    version: str = "v1"
    request: RequestBody
    host: PolicyHost

    def question(self) -> str:
        """What the answer depends on: the same question gets the same answer."""
        data: dict[str, Any] = self.to_data()
        return repr((data["kind"], sorted(data["request"].items(), key=lambda item: item[0])))


class PolicyDecision(_Camel):
    """One answer, or a later change of it."""

    request_id: Annotated[Text, Field(min_length=1)]
    permitted: bool
    message: Text | None = None
