"""Claims of signed components and providers: how they are stored, and get (lattice-protocol 1.9, 3.3).

Unsigned ones do not appear.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import AliasChoices, BeforeValidator, Field, TypeAdapter

from trellis_lattice.control.operation import Answerers, ControlOperation
from trellis_lattice.errors import RequestInvalid
from trellis_lattice.subjects import check_id
from trellis_lattice.wire import StringMap, Text, WireModel, decode

__all__ = ["CLAIMS_PREFIX", "GET", "ComponentClaims", "ProviderClaims", "StoredClaims", "claims_key", "read_claims"]

CLAIMS_PREFIX = "CLAIMS_"
"""What the keys of claims begin with, in the lattice's data; then comes the subject."""

_Issuer = Annotated[Text, Field(validation_alias=AliasChoices("issuer", "iss"))]
_Subject = Annotated[Text, Field(validation_alias=AliasChoices("subject", "sub"))]
_Revision = Annotated[Text, Field(validation_alias=AliasChoices("revision", "rev"))]
_Tags = Annotated[
    tuple[Text, ...],
    Field(max_length=1024),
    BeforeValidator(lambda v: tuple(tag for tag in v.split(",") if tag) if isinstance(v, str) else v),
]


class ComponentClaims(WireModel):
    """What the signature of a component says, as it is stored."""

    call_alias: Text
    issuer: _Issuer
    name: Text
    revision: _Revision
    subject: _Subject
    tags: _Tags
    version: Text

    def listed(self) -> dict[str, str]:
        """As `claims.get` tells it."""
        return {**_listed(self), "call_alias": self.call_alias, "tags": ",".join(self.tags)}


class ProviderClaims(WireModel):
    """What the signature of a provider says, as v1 hosts store it."""

    issuer: _Issuer
    name: Text
    revision: _Revision
    subject: _Subject
    version: Text
    config_schema: Text | None = None

    def listed(self) -> dict[str, str]:
        """As `claims.get` tells it."""
        schema = {} if self.config_schema is None else {"config_schema": self.config_schema}
        return {**_listed(self), **schema}


StoredClaims: TypeAlias = ComponentClaims | ProviderClaims

_COMPONENT: TypeAdapter[ComponentClaims] = TypeAdapter(ComponentClaims)
_PROVIDER: TypeAdapter[ProviderClaims] = TypeAdapter(ProviderClaims)


def claims_key(subject: str) -> str:
    """The key under which claims are stored."""
    return f"{CLAIMS_PREFIX}{check_id(subject, 'public key')}"


def read_claims(key: str, payload: bytes) -> StoredClaims:
    """Stored claims. Raises `RequestInvalid` if they are malformed, or of another subject than the key says."""
    claims: StoredClaims
    try:
        claims = decode(_COMPONENT, payload, key)
    except RequestInvalid:
        claims = decode(_PROVIDER, payload, key)
    if key.removeprefix(CLAIMS_PREFIX) != claims.subject:
        raise RequestInvalid(f"{key} holds the claims of another subject.", key=key)
    return claims


def _listed(claims: StoredClaims) -> dict[str, str]:
    return {
        "iss": claims.issuer,
        "issuer": claims.issuer,
        "name": claims.name,
        "rev": claims.revision,
        "revision": claims.revision,
        "sub": claims.subject,
        "subject": claims.subject,
        "version": claims.version,
    }


GET: ControlOperation[None, list[dict[str, str]]] = ControlOperation(
    "claims", "get", None, list[StringMap], answerers=Answerers.ANY
)
