"""What a control operation is: a subject, who answers, and two JSON shapes (lattice-protocol 1). Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter

from trellis_lattice import subjects
from trellis_lattice.control.envelope import CtlResponse
from trellis_lattice.errors import RequestInvalid
from trellis_lattice.wire import decode, encode

__all__ = ["Answerers", "Argument", "ControlOperation"]

Request = TypeVar("Request")
Response = TypeVar("Response")


class Answerers(Enum):
    """Which hosts answer."""

    ADDRESSED = "the host named in the subject"
    ANY = "one member of a queue group, from shared state"
    EVERY = "every host, or those that want to"


class Argument(Enum):
    """What the last token of the subject is."""

    NONE = "nothing"
    HOST = "a host id"
    NAME = "a config name"


@dataclass(frozen=True, slots=True)
class ControlOperation(Generic[Request, Response]):
    """One operation. `request` and `response` are types that pydantic knows; `None` means an empty payload."""

    noun: str
    verb: str
    request: Any
    response: Any
    argument: Argument = Argument.NONE
    answerers: Answerers = Answerers.ADDRESSED
    empty: Callable[[], Any] | None = None
    """What an empty payload means, where that is allowed although there is a request type."""
    undecodable: str | None = None
    """How v1 puts it when a request cannot be read."""
    _requests: TypeAdapter[Any] | None = field(init=False, default=None, repr=False, compare=False)
    _responses: TypeAdapter[Any] | None = field(init=False, default=None, repr=False, compare=False)

    @property
    def name(self) -> str:
        return f"{self.noun}.{self.verb}"

    def subject(self, lattice: str, argument: str | None = None, *, prefix: str = subjects.CONTROL_PREFIX) -> str:
        """Where to send a request. `argument` is the host id or config name, as `self.argument` says."""
        if (argument is None) is not (self.argument is Argument.NONE):
            raise RequestInvalid(f"{self.name} is addressed with {self.argument.value}.", operation=self.name)
        if argument is not None:
            check = subjects.check_config_name if self.argument is Argument.NAME else subjects.check_id
            check(argument)
        return subjects.control(lattice, self.noun, self.verb, argument, prefix=prefix)

    def encode_request(self, request: Request | None) -> bytes:
        if request is None or self.request is None:
            return b""
        return encode(self._request_adapter(), request)

    def decode_request(self, payload: bytes) -> Request:
        """Raises `RequestInvalid` with the text v1 clients know, and then the reason."""
        if self.request is None:
            return None  # type: ignore[return-value]
        if not payload and self.empty is not None:
            value: Request = self.empty()
            return value
        text = self.undecodable or f"failed to deserialize {self.noun} {self.verb} command"
        try:
            value = decode(self._request_adapter(), payload, text)
        except RequestInvalid as error:
            message = error.message if error.message.startswith(text) else f"{text}: {error.message}"
            raise RequestInvalid(message, remedy=error.remedy, operation=self.name, **_key(error)) from None
        return value

    def encode_response(self, response: CtlResponse[Response]) -> bytes:
        return response.to_json(self._response_adapter())

    def decode_response(self, payload: bytes) -> CtlResponse[Response]:
        """Raises `PeerMisbehaved` if this is no answer."""
        return CtlResponse.from_json(payload, self._response_adapter(), self.name)

    def _request_adapter(self) -> TypeAdapter[Any]:
        # Built on first use: a process needs few of them, and building costs start-up time.
        if self._requests is None:
            object.__setattr__(self, "_requests", TypeAdapter(self.request))
        assert self._requests is not None
        return self._requests

    def _response_adapter(self) -> TypeAdapter[Any]:
        if self._responses is None:
            object.__setattr__(self, "_responses", TypeAdapter(self.response))
        assert self._responses is not None
        return self._responses


def _key(error: RequestInvalid) -> dict[str, Any]:
    return {"key": error.fields["key"]} if error.fields.get("key") else {}
