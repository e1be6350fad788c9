"""Components made for a type: they give back what they get, directly and through a function of the host.

`list<T>` looks the same as parameter and as result (address and length), and the memory behind it is the canonical
layout of T. So one core module echoes every type, without knowing it.
"""

from __future__ import annotations

from itertools import count

from trellis_lattice.wit.types import (
    Enum,
    Flags,
    ListType,
    Option,
    Primitive,
    Record,
    Result,
    Tuple,
    Variant,
    WitType,
)

_ECHO = """
(component
{declarations}
  (import "host" (instance $host
{aliases}
    (export "echo" (func (param "xs" (list {type})) (result (list {type}))))))
  (alias export $host "echo" (func $host-echo))
  (core module $libc
    (memory (export "memory") 40)
    (global $top (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $p i32)
      (local.set $p (i32.and (i32.add (global.get $top) (i32.sub (local.get 2) (i32.const 1)))
                             (i32.sub (i32.const 0) (local.get 2))))
      (global.set $top (i32.add (local.get $p) (local.get 3)))
      (loop $more (if (i32.gt_u (global.get $top) (i32.mul (memory.size) (i32.const 65536)))
        (then (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable)) (br $more))))
      (local.get $p)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))
  (core func $host-echo (canon lower (func $host-echo) (memory $memory) (realloc $realloc)))
  (core module $m
    (import "h" "memory" (memory 1))
    (import "h" "echo" (func $echo (param i32 i32 i32)))
    (func (export "direct") (param i32 i32) (result i32)
      (i32.store (i32.const 0) (local.get 0)) (i32.store (i32.const 4) (local.get 1)) (i32.const 0))
    (func (export "through") (param i32 i32) (result i32)
      (call $echo (local.get 0) (local.get 1) (i32.const 8)) (i32.const 8)))
  (core instance $i (instantiate $m (with "h" (instance
    (export "memory" (memory $memory)) (export "echo" (func $host-echo))))))
  (func (export "direct") (param "xs" (list {type})) (result (list {type}))
    (canon lift (core func $i "direct") (memory $memory) (realloc $realloc)))
  (func (export "through") (param "xs" (list {type})) (result (list {type}))
    (canon lift (core func $i "through") (memory $memory) (realloc $realloc))))
"""

_GIVE = """
(component
{declarations}
  (import "host" (instance $host
{aliases}
    (export "give" (func (result {type})))))
  (alias export $host "give" (func $give))
  (core module $libc
    (memory (export "memory") 2)
    (global $top (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $p i32)
      (local.set $p (i32.and (i32.add (global.get $top) (i32.sub (local.get 2) (i32.const 1)))
                             (i32.sub (i32.const 0) (local.get 2))))
      (global.set $top (i32.add (local.get $p) (local.get 3)))
      (local.get $p)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))
  (core func $give (canon lower (func $give) (memory $memory) (realloc $realloc)))
  (core module $m
    (import "h" "give" (func $give {core}))
    (func (export "give") (result {returned}) {body}))
  (core instance $i (instantiate $m (with "h" (instance (export "give" (func $give))))))
  (func (export "give") (result {type}) (canon lift (core func $i "give") (memory $memory) (realloc $realloc))))
"""


def echo_text(type: WitType) -> str:
    """`direct` and `through` over `list<type>`; the latter asks `host.echo`."""
    names = _Names()
    reference = names.refer(type)
    return _ECHO.format(declarations=names.declarations(), aliases=names.aliases(), type=reference)


def give_text(type: WitType, flat: str | None = None) -> str:
    """`give` gives what `host.give` gives. `flat`: the core type of the value, if it is a single one."""
    names = _Names()
    reference = names.refer(type)
    if flat is None:
        core, returned, body = "(param i32)", "i32", "(call $give (i32.const 64)) (i32.const 64)"
    else:
        core, returned, body = f"(result {flat})", flat, "(call $give)"
    return _GIVE.format(
        declarations=names.declarations(),
        aliases=names.aliases(),
        type=reference,
        core=core,
        returned=returned,
        body=body,
    )


class _Names:
    """Records and their kin must have names to stand in a signature: each is imported as a type equal to itself."""

    def __init__(self) -> None:
        self._count = count()
        self._declared: list[tuple[str, str]] = []

    def declarations(self) -> str:
        return "\n".join(
            f"  (type ${name}' {text})\n  (import \"{name}\" (type ${name} (eq ${name}')))"
            for name, text in self._declared
        )

    def aliases(self) -> str:
        return "\n".join(
            f'    (alias outer 1 ${name} (type ${name}-outer)) (export "{name}" (type ${name} (eq ${name}-outer)))'
            for name, _ in self._declared
        )

    def refer(self, type: WitType) -> str:
        match type:
            case Primitive():
                return type.value
            case ListType(element):
                return f"(list {self.refer(element)})"
            case Option(some):
                return f"(option {self.refer(some)})"
            case Tuple(items):
                return f"(tuple {' '.join(map(self.refer, items))})"
            case Result(ok, err):
                good = f" {self.refer(ok)}" if ok is not None else ""
                bad = f" (error {self.refer(err)})" if err is not None else ""
                return f"(result{good}{bad})"
            case Record(fields):
                return self._named("record " + " ".join(f'(field "{n}" {self.refer(t)})' for n, t in fields))
            case Variant(cases):
                parts = [f'(case "{n}"{"" if t is None else " " + self.refer(t)})' for n, t in cases]
                return self._named("variant " + " ".join(parts))
            case Enum(names):
                return self._named("enum " + " ".join(f'"{n}"' for n in names))
            case Flags(names):
                return self._named("flags " + " ".join(f'"{n}"' for n in names))
        raise AssertionError(type)

    def _named(self, text: str) -> str:
        name = f"t{next(self._count)}"
        self._declared.append((name, f"({text})"))
        return f"${name}"
