"""Saying which interfaces a provider class answers, and by which methods.

    @provides("acme:greet/greeter@1.0.0")
    class Greeter(Provider):
        async def hello(self, name: str) -> str:
            return f"Hello, {name}"

With one interface every public async method is a function of it. With several each method says which:
`@function(interface="acme:greet/admin")`, or `@method(Bucket)` for a method of a resource. An overriding method
in a subclass keeps the declaration of the method it overrides.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from trellis_lattice.errors import ConfigError, RequestInvalid
from trellis_lattice.names import InterfaceName

from .kebab import kebab
from .wit_types import NamedResource, Resource

__all__ = ["Declared", "constructor", "declared", "function", "interfaces_of", "method", "provides", "static"]

AnyResource = type[Resource] | type[NamedResource]
Kind = Literal["function", "method", "static", "constructor"]
C = TypeVar("C", bound=type[Any])
F = TypeVar("F", bound=Callable[..., Awaitable[Any]])

_INTERFACES = "__trellis_interfaces__"
_MARK = "__trellis_function__"


@dataclass(frozen=True, slots=True)
class _Mark:
    kind: Kind = "function"
    name: str | None = None
    interface: str | None = None
    resource: AnyResource | None = None


@dataclass(frozen=True, slots=True)
class Declared:
    """One function of one interface, and the Python method behind it."""

    interface: InterfaceName
    kind: Kind
    name: str
    """Plain WIT name, without `[method]`."""
    python_name: str
    call: Callable[..., Awaitable[Any]]
    """As declared, so that its annotations count even where a subclass overrides it."""
    resource: AnyResource | None = None


def provides(*interfaces: str) -> Callable[[C], C]:
    """Class decorator: the provider answers these interfaces (`ns:pkg/iface@version`). Raises `ConfigError`."""
    if not interfaces:
        raise ConfigError(
            "@provides names no interface.", remedy='Write @provides("namespace:package/interface@1.0.0").'
        )
    try:
        names = tuple(InterfaceName.parse(text) for text in interfaces)
    except RequestInvalid as error:
        raise ConfigError(error.message, remedy=error.remedy) from None

    def decorate(cls: C) -> C:
        setattr(cls, _INTERFACES, names)
        return cls

    return decorate


def function(name: str | None = None, *, interface: str | None = None) -> Callable[[F], F]:
    """This method is a function of `interface` (may be left out with one interface), called `name` in WIT."""
    return _marking(_Mark("function", name, interface))


def method(resource: AnyResource, name: str | None = None) -> Callable[[F], F]:
    """This method of the provider is a method of `resource`; its first argument is the resource."""
    return _marking(_Mark("method", name, resource.wit_interface, resource))


def static(resource: AnyResource, name: str | None = None) -> Callable[[F], F]:
    """This method of the provider is a static function of `resource`."""
    return _marking(_Mark("static", name, resource.wit_interface, resource))


def constructor(resource: AnyResource) -> Callable[[F], F]:
    """This method of the provider makes a new `resource`."""
    return _marking(_Mark("constructor", "", resource.wit_interface, resource))


def _marking(mark: _Mark) -> Callable[[F], F]:
    def decorate(call: F) -> F:
        setattr(call, _MARK, mark)
        return call

    return decorate


def interfaces_of(cls: type[Any]) -> tuple[InterfaceName, ...]:
    """All interfaces the class answers, those of its bases included."""
    found: dict[InterfaceName, None] = {}
    for base in reversed(cls.__mro__):
        found.update(dict.fromkeys(base.__dict__.get(_INTERFACES, ())))
    return tuple(found)


def declared(cls: type[Any]) -> Iterator[Declared]:
    """The functions of a provider class, each once. Raises `ConfigError` where the interface is not clear."""
    seen: set[str] = set()
    for base in reversed(cls.__mro__):
        if _INTERFACES not in base.__dict__ and not _has_marks(base):
            continue
        for python_name, item in base.__dict__.items():
            mark = getattr(item, _MARK, None)
            if mark is None and (_INTERFACES not in base.__dict__ or not _is_function(base, python_name, item)):
                continue
            if python_name not in seen:
                seen.add(python_name)
                yield _declared(cls, base, python_name, item, mark or _Mark())


def methods_of(resource: type[Resource], interface: InterfaceName) -> Iterator[Declared]:
    """The WIT methods of a resource class: its public async methods, `close` excepted."""
    for python_name, item in inspect.getmembers(resource, inspect.iscoroutinefunction):
        if not python_name.startswith("_") and python_name not in vars(Resource):
            mark: _Mark = getattr(item, _MARK, None) or _Mark()
            name = mark.name or kebab(python_name)
            yield Declared(interface, "method", name, python_name, item, resource)


def _has_marks(base: type[Any]) -> bool:
    return any(hasattr(item, _MARK) for item in base.__dict__.values())


def _is_function(base: type[Any], name: str, item: object) -> bool:
    """Public async methods are, but for the steps of a provider's life, and what an abstract base leaves open."""
    if name.startswith("_") or not inspect.iscoroutinefunction(item) or getattr(item, "__isabstractmethod__", False):
        return False
    return not any(hasattr(parent, name) for parent in base.__mro__[1:])


def _declared(cls: type[Any], base: type[Any], python_name: str, item: Any, mark: _Mark) -> Declared:
    own: tuple[InterfaceName, ...] = base.__dict__.get(_INTERFACES) or interfaces_of(cls)
    name = kebab(python_name) if mark.name is None else mark.name
    result = Declared(own[0], mark.kind, name, python_name, item, mark.resource) if own else None
    if mark.interface is not None:
        wanted = InterfaceName.parse(mark.interface)
        match = next((name for name in interfaces_of(cls) if name.answers(wanted)), None)
        if match is not None and result is not None:
            return replace(result, interface=match)
        raise ConfigError(
            f"{cls.__name__}.{python_name} belongs to {wanted}, which {cls.__name__} does not provide.",
            remedy=f"Add it to @provides on {cls.__name__}.",
        )
    if result is None or len(own) > 1:
        raise ConfigError(
            f"{cls.__name__}.{python_name} does not say which of its class's interfaces it belongs to.",
            remedy='Decorate it with @function(interface="namespace:package/interface"), or start its name with _.',
        )
    return result
