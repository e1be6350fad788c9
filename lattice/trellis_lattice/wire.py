"""What all JSON messages of the control plane have in common (lattice-protocol 1.1, 9.3). Pure.

The laws of this file: unknown keys are ignored; an absent value is left out, not sent as null, unless the
model says otherwise; everything that repeats is bounded; whatever cannot be read is `RequestInvalid` naming
the key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
)

from trellis_lattice.errors import RequestInvalid
from trellis_lattice.subjects import check_config_name, check_id

__all__ = [
    "Annotations",
    "ConfigNames",
    "Count",
    "Id",
    "Labels",
    "Ref",
    "StringMap",
    "Text",
    "Values",
    "WireModel",
    "decode",
    "encode",
]

MAX_MESSAGE = 8 * 1024 * 1024
"""Largest control message we read, in bytes."""

Text = Annotated[str, Field(max_length=64 * 1024)]
Ref = Annotated[str, Field(max_length=4096)]
"""An image reference, as requested: never rewritten (lattice-protocol 9.4)."""
Id = Annotated[str, BeforeValidator(lambda v: v.strip() if isinstance(v, str) else v), AfterValidator(check_id)]
"""Id of a component or provider that we are asked to work with."""
StringMap = Annotated[dict[Annotated[str, Field(max_length=1024)], Text], Field(max_length=1024)]
Values = Annotated[
    dict[Annotated[str, Field(max_length=1024)], Annotated[str, Field(max_length=1024 * 1024)]], Field(max_length=4096)
]
"""A named configuration: v1 bounds it by what NATS carries alone."""
Labels = StringMap
Annotations = StringMap
ConfigNames = Annotated[tuple[Annotated[str, AfterValidator(check_config_name)], ...], Field(max_length=256)]
Count = Annotated[int, Field(ge=0, le=2**32 - 1)]

T = TypeVar("T")


class WireModel(BaseModel):
    """A JSON object. Immutable; its JSON is that of v1."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    null_when_absent: ClassVar[frozenset[str]] = frozenset()
    """Keys that v1 sends as null instead of leaving them out."""
    absent_when_empty: ClassVar[frozenset[str]] = frozenset()
    """Keys that v1 does not know, and that are left out when they have nothing to say."""

    @model_serializer(mode="wrap")
    def _leave_out_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        return {
            key: value
            for key, value in values.items()
            if (value is not None or key in self.null_when_absent) and (value or key not in self.absent_when_empty)
        }

    def to_json(self) -> bytes:
        return self.model_dump_json(by_alias=True).encode()

    def to_data(self) -> dict[str, Any]:
        """The JSON as Python values."""
        return self.model_dump(mode="json", by_alias=True)

    @classmethod
    def from_json(cls, payload: bytes | str) -> Self:
        """Raises `RequestInvalid` naming the key."""
        return _read(cls.model_validate_json, payload, cls.__name__)


def decode(adapter: TypeAdapter[T], payload: bytes | str, what: str) -> T:
    """The value in a payload. Raises `RequestInvalid`: what it should be, which key is wrong, and why."""
    return _read(adapter.validate_json, payload, what)


def _read(read: Callable[[bytes | str], T], payload: bytes | str, what: str) -> T:
    if len(payload) > MAX_MESSAGE:
        raise RequestInvalid(f"{what}: {len(payload)} bytes are more than the {MAX_MESSAGE} allowed.")
    try:
        return read(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RequestInvalid(f"{what}: {place + ': ' if place else ''}{first['msg']}", key=place or None) from None


def encode(adapter: TypeAdapter[T], value: T) -> bytes:
    return adapter.dump_json(value, by_alias=True)
