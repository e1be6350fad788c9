"""A provider class, reflected: the type and the converters of each of its functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trellis_lattice.errors import ConfigError, NotFound
from trellis_lattice.names import InterfaceName
from trellis_lattice.wit.types import FuncType, InterfaceType, ResourceId, WitType

from .convert import Convert
from .declare import Declared, declared, interfaces_of, methods_of
from .kebab import kebab
from .reflect import Codec, Scope, codec_of, hints_of, resource_id
from .wit_types import NamedResource, Resource

__all__ = ["Compiled", "CompiledProvider", "compile_provider"]


@dataclass(frozen=True, slots=True)
class Compiled:
    """One function. `on_resource`: a method of the resource itself, not of the provider."""

    type: FuncType
    python_name: str
    args_in: Sequence[Convert | None]
    result_out: Convert | None
    on_resource: bool = False


@dataclass(frozen=True, slots=True)
class CompiledProvider:
    """All functions of a provider class, by interface and WIT name."""

    functions: Mapping[InterfaceName, Mapping[str, Compiled]]
    interfaces: Mapping[str, InterfaceType]

    def find(self, wanted: InterfaceName, function: str, provider: str) -> Compiled:
        """Raises `NotFound` naming what the provider has instead."""
        for name, functions in self.functions.items():
            if name.answers(wanted):
                if function in functions:
                    return functions[function]
                raise NotFound(
                    f"{name} of provider {provider} has no function {function}.",
                    remedy=f"It has {', '.join(sorted(functions))}.",
                )
        raise NotFound(
            f"The provider {provider} does not provide {wanted}.",
            remedy=f"It provides {', '.join(map(str, self.functions)) or 'nothing that can be called'}.",
        )


def compile_provider(cls: type[Any], made: Callable[[Resource], None]) -> CompiledProvider:
    """Reflects a provider class; `made` is told every resource that a function returns.

    Raises `ConfigError` for what WIT cannot say.
    """
    functions: dict[InterfaceName, dict[str, Compiled]] = {name: {} for name in interfaces_of(cls)}
    met: dict[ResourceId, type[Resource] | type[NamedResource]] = {}
    for item in declared(cls):
        _add(functions, item, _compile(cls, item, made, met))
    compiled_resources: set[ResourceId] = set()
    while open_resources := [(id, kind) for id, kind in met.items() if id not in compiled_resources]:
        for id, kind in open_resources:
            compiled_resources.add(id)
            home = next((name for name in functions if name.unversioned == id.interface), None)
            if home is not None and issubclass(kind, Resource):
                for item in methods_of(kind, home):
                    _add(functions, item, _compile(kind, item, made, met, on_resource=True))
    return CompiledProvider(functions, {str(name): _interface(name, functions[name], met) for name in functions})


def _interface(name: InterfaceName, functions: Mapping[str, Compiled], met: Mapping[ResourceId, Any]) -> InterfaceType:
    resources = tuple(sorted(id.name for id in met if id.interface == name.unversioned))
    return InterfaceType(str(name), {key: compiled.type for key, compiled in functions.items()}, resources)


def _add(functions: Mapping[InterfaceName, dict[str, Compiled]], item: Declared, compiled: Compiled) -> None:
    name = _wit_name(item)
    if name in functions[item.interface]:
        raise ConfigError(f"{item.interface} has two functions {name}.", remedy="Rename one of them.")
    functions[item.interface][name] = compiled


def _wit_name(item: Declared) -> str:
    if item.resource is None:
        return item.name
    resource = resource_id(item.resource, item.interface.unversioned).name
    return f"[constructor]{resource}" if item.kind == "constructor" else f"[{item.kind}]{resource}.{item.name}"


def _compile(
    cls: type[Any],
    item: Declared,
    made: Callable[[Resource], None],
    met: dict[ResourceId, type[Resource] | type[NamedResource]],
    *,
    on_resource: bool = False,
) -> Compiled:
    where = f"{cls.__name__}.{item.python_name}"
    hints = hints_of(item.call, where)
    scope = Scope(item.interface.unversioned, made, met)
    params: list[tuple[str, WitType]] = []
    converters: list[Convert | None] = []
    for position, parameter in enumerate(inspect.signature(item.call).parameters.values()):
        codec = _parameter(cls, item, position, parameter, hints, scope, on_resource)
        if codec is not None:
            is_self = item.kind == "method" and not params
            params.append(("self" if is_self else kebab(parameter.name), codec.type))
            converters.append(codec.from_wit)
    result = _result(hints, where, scope)
    return Compiled(
        FuncType(tuple(params), result.type if result else None),
        item.python_name,
        tuple(converters),
        result.to_wit if result else None,
        on_resource,
    )


def _parameter(
    cls: type[Any],
    item: Declared,
    position: int,
    parameter: inspect.Parameter,
    hints: Mapping[str, Any],
    scope: Scope,
    on_resource: bool,
) -> Codec | None:
    """The codec of one parameter; None for the `self` of a provider's method."""
    where = f"{cls.__name__}.{item.python_name}({parameter.name})"
    if position == 0:
        return codec_of(cls, where, scope) if on_resource else None
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.KEYWORD_ONLY):
        raise ConfigError(f"{where} is not a positional parameter, which WIT cannot say.")
    if parameter.name not in hints:
        raise ConfigError(f"{where} has no annotation.", remedy="Annotate it; docs/providers.md lists the types.")
    return codec_of(hints[parameter.name], where, scope)


def _result(hints: Mapping[str, Any], where: str, scope: Scope) -> Codec | None:
    if "return" not in hints:
        raise ConfigError(f"{where} has no return annotation.", remedy="Annotate it; `-> None` if it returns nothing.")
    annotation = hints["return"]
    if annotation in (None, type(None)):
        return None
    scope.position = "result"
    return codec_of(annotation, f"{where} → result", scope)
