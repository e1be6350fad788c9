"""WIT text of types that were reflected from components.

A component's types are structural: the names their author gave to records and variants are gone. Inside an
interface they are lifted out under a name made from the place of their first use (a field, a parameter, a
function, `error` for the bad side of a result); elsewhere (`type_text`) they are written in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from trellis_lattice.wit.types import (
    Borrow,
    Enum,
    Flags,
    FuncType,
    InterfaceType,
    ListType,
    Option,
    Own,
    Primitive,
    Record,
    Result,
    Stream,
    Tuple,
    Variant,
    WitType,
)

__all__ = ["func_text", "interface_text", "type_text", "world_text"]

_Names = Mapping[WitType, str]
_NO_NAMES: _Names = {}
_KEYWORDS = frozenset(
    {
        *("as", "async", "bool", "borrow", "char", "constructor", "enum", "export", "f32", "f64", "flags", "from"),
        *("func", "future", "import", "include", "interface", "list", "option", "own", "package", "record"),
        *("resource", "result", "s16", "s32", "s64", "s8", "static", "stream", "string", "tuple", "type", "u16"),
        *("u32", "u64", "u8", "use", "variant", "with", "world"),
    }
)


def type_text(type: WitType, names: _Names = _NO_NAMES) -> str:
    """One type in one line. `names` are the types that have one."""
    if type in names:
        return names[type]
    match type:
        case Primitive():
            return type.value
        case ListType():
            return f"list<{type_text(type.element, names)}>"
        case Option():
            return f"option<{type_text(type.some, names)}>"
        case Result():
            return _result_text(type, names)
        case Tuple():
            return f"tuple<{', '.join(type_text(item, names) for item in type.items)}>"
        case Own():
            return _label(type.resource.name)
        case Borrow():
            return f"borrow<{_label(type.resource.name)}>"
        case Stream():
            return "stream<u8>"
        case Record() | Variant() | Enum() | Flags():
            return f"{_keyword(type)} {{ {', '.join(_members(type, names))} }}"


def func_text(type: FuncType, names: _Names = _NO_NAMES, *, skip_self: bool = False) -> str:
    """`func(a: u32) -> string`. `skip_self` leaves out the first parameter, as WIT does for methods."""
    params = type.params[1:] if skip_self else type.params
    text = f"func({', '.join(f'{_label(name)}: {type_text(of, names)}' for name, of in params)})"
    return text if type.result is None else f"{text} -> {type_text(type.result, names)}"


def interface_text(type: InterfaceType, indent: str = "") -> str:
    """`interface NAME { … }` with lifted types, resources and functions."""
    name = type.name.partition("@")[0].rpartition("/")[2]
    body = "\n".join(_body(type, indent + "  "))
    return (
        f"{indent}interface {_label(name)} {{\n{body}\n{indent}}}" if body else f"{indent}interface {_label(name)} {{}}"
    )


def world_text(imports: Mapping[str, InterfaceType], exports: Mapping[str, InterfaceType]) -> str:
    """What a component imports and exports, in full; functions at the root without an interface around them."""
    lines = ["world component {"]
    for direction, interfaces in (("import", imports), ("export", exports)):
        for name in sorted(interfaces):
            type = interfaces[name]
            if name:
                body = list(_body(type, "    "))
                lines += [f"  {direction} {name} {{", *body, "  }"] if body else [f"  {direction} {name} {{}}"]
            else:
                names = _name_types(type)
                lines += _definitions(names, "  ")
                lines += [
                    f"  {direction} {_label(func)}: {func_text(of, names)};"
                    for func, of in sorted(type.functions.items())
                ]
    return "\n".join([*lines, "}"])


def _keyword(type: Record | Variant | Enum | Flags) -> str:
    return {Record: "record", Variant: "variant", Enum: "enum", Flags: "flags"}[type.__class__]


def _label(name: str) -> str:
    return f"%{name}" if name in _KEYWORDS else name


def _result_text(type: Result, names: _Names) -> str:
    if type.err is not None:
        ok = "_" if type.ok is None else type_text(type.ok, names)
        return f"result<{ok}, {type_text(type.err, names)}>"
    return "result" if type.ok is None else f"result<{type_text(type.ok, names)}>"


def _members(type: Record | Variant | Enum | Flags, names: _Names) -> list[str]:
    match type:
        case Record():
            return [f"{_label(name)}: {type_text(of, names)}" for name, of in type.fields]
        case Variant():
            return [
                _label(name) if of is None else f"{_label(name)}({type_text(of, names)})" for name, of in type.cases
            ]
        case _:
            return [_label(name) for name in type.names]


def _body(type: InterfaceType, indent: str) -> Iterator[str]:
    names = _name_types(type)
    yield from _definitions(names, indent)
    methods: dict[str, list[str]] = {name: [] for name in type.resources}
    plain: list[str] = []
    for name, func in type.functions.items():
        owner, line = _function_line(name, func, names)
        (methods.setdefault(owner, []) if owner else plain).append(line)
    for resource, lines in methods.items():
        if lines:
            yield f"{indent}resource {_label(resource)} {{"
            yield from (f"{indent}  {line}" for line in lines)
            yield f"{indent}}}"
        else:
            yield f"{indent}resource {_label(resource)};"
    yield from (indent + line for line in plain)


def _function_line(name: str, func: FuncType, names: _Names) -> tuple[str, str]:
    """Which resource a function belongs to ("" for none), and its line."""
    if not name.startswith("["):
        return "", f"{_label(name)}: {func_text(func, names)};"
    kind, _, rest = name[1:].partition("]")
    owner, _, method = rest.partition(".")
    if kind == "constructor":
        params = func_text(FuncType(func.params), names).removeprefix("func")
        return owner, f"constructor{params};"
    if kind == "static":
        return owner, f"{_label(method)}: static {func_text(func, names)};"
    return owner, f"{_label(method)}: {func_text(func, names, skip_self=True)};"


def _definitions(names: Mapping[WitType, str], indent: str) -> list[str]:
    lines: list[str] = []
    for type, name in names.items():
        if isinstance(type, Record | Variant | Enum | Flags):
            others = {other: text for other, text in names.items() if other != type}
            lines.append(f"{indent}{_keyword(type)} {name} {{")
            lines += [f"{indent}  {member}," for member in _members(type, others)]
            lines.append(f"{indent}}}")
    return lines


def _name_types(type: InterfaceType) -> dict[WitType, str]:
    """Names for every record, variant, enum and flags of an interface; inner types come first."""
    names: dict[WitType, str] = {}
    taken = {name for name in type.functions if not name.startswith("[")} | set(type.resources)
    for function, func in type.functions.items():
        for param, of in func.params:
            _name_type(of, param, names, taken)
        if func.result is not None:
            _name_type(func.result, function.rpartition("]")[2].rpartition(".")[2] + "-result", names, taken)
    return names


def _name_type(type: WitType, hint: str, names: dict[WitType, str], taken: set[str]) -> None:
    for part, part_hint in _parts(type, hint):
        _name_type(part, part_hint, names, taken)
    if isinstance(type, Record | Variant | Enum | Flags) and type not in names:
        name, number = hint, 1
        while name in taken:
            number += 1
            name = f"{hint}-{number}"
        taken.add(name)
        names[type] = _label(name)


def _parts(type: WitType, hint: str) -> Iterator[tuple[WitType, str]]:
    match type:
        case ListType(element=inner) | Option(some=inner):
            yield inner, hint
        case Result():
            if type.ok is not None:
                yield type.ok, hint
            if type.err is not None:
                yield type.err, "error"
        case Tuple():
            yield from ((item, hint) for item in type.items)
        case Record():
            yield from ((of, name) for name, of in type.fields)
        case Variant():
            yield from ((of, name) for name, of in type.cases if of is not None)
        case _:
            return
