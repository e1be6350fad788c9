"""The memory and the resources of one sandbox: what converters need while they translate values.

A slab is one piece of memory, kept for the life of a sandbox: it holds the places that wasmtime writes to (error,
instance, function, result) and, behind them, the arguments of the running call. wasmtime copies arguments out of
it, so nothing in it needs freeing, and a conversion that fails half-way leaks nothing.
"""

from __future__ import annotations

from typing import Any

from trellis_host.engine import ffi
from trellis_host.engine.api import HostResource
from trellis_lattice.errors import InvocationFailed

__all__ = ["ARENA", "FUNC", "INSTANCE", "RESULT", "SCRATCH", "ComponentResource", "Space"]

WORDS = ffi.WORDS

# Places in a slab, in words from its start. Error and out come first.
OUT = 1
INSTANCE = 2
FUNC = 4
RESULT = 8
SCRATCH = 12
ARENA = 16
SLAB_BYTES = 4096

_free_slabs: list[tuple[int, Any]] = []
_MAX_FREE_SLABS = 256

_templates: dict[tuple[int, int], int] = {}
"""Host resources by (number of the type, rep). wasmtime copies what they say, so they serve any number of handles in
any store; sandboxes count reps from 1, so most handles find theirs here."""
_TEMPLATE_REPS = 32


class ComponentResource:
    """An owned resource that the component itself defines. Opaque; belongs to one sandbox and dies with it.

    Give it as an argument of a later call on the same sandbox: as `borrow` it stays valid, as `own` it is gone.
    """

    __slots__ = ("address", "name", "space")

    def __init__(self, space: Space, address: int, name: str) -> None:
        self.space: Space | None = space
        self.address = address
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}{'' if self.address else ', gone'}>"


class Space:
    """State that converters of one sandbox share."""

    __slots__ = (
        "_end",
        "_extra",
        "_slab",
        "_top",
        "anys",
        "base",
        "byte_values",
        "consumed",
        "context",
        "ctx",
        "kept",
        "lent",
        "max_resources",
        "next_rep",
        "out",
        "table",
    )

    def __init__(self, context: Any, max_resources: int) -> None:
        self._slab = slab = _free_slabs.pop() if _free_slabs else _new_slab()
        address = slab[0]
        self.base = address >> 3
        self.out = address + 8 * OUT
        self._top = address + 8 * ARENA
        self._end = address + SLAB_BYTES
        self._extra: list[Any] | None = None
        self.context = context
        self.ctx = 0
        self.anys: list[int] = []
        """Owned handles of the running conversion, to be deleted when wasmtime has copied them."""
        self.lent: list[int] = []
        """Handles lent for the running call; they return to the host after it."""
        self.consumed: list[ComponentResource] = []
        """The component's own resources that the running call gives back to it."""
        self.byte_values = 0
        """Elements of list<u8> in the running conversion."""
        self.kept: set[ComponentResource] | None = None
        """The component's own resources that Python holds."""
        self.table: dict[int, tuple[Any, HostResource]] = {}
        self.next_rep = 1
        self.max_resources = max_resources

    def take(self, size: int) -> int:
        """Address of `size` bytes (a multiple of 8), valid until `rewind`."""
        address = self._top
        top = address + size
        if top > self._end:
            return self._take_extra(size)
        self._top = top
        return address

    def _take_extra(self, size: int) -> int:
        held = ffi.buffer(size)
        if self._extra is None:
            self._extra = []
        self._extra.append(held)
        return ffi.address_of(held)

    def mark(self) -> tuple[int, int]:
        return self._top, len(self._extra) if self._extra is not None else 0

    def rewind(self, mark: tuple[int, int]) -> None:
        """Gives back what was taken since `mark`."""
        self._top = mark[0]
        if self._extra is not None:
            del self._extra[mark[1] :]

    def rewind_all(self) -> None:
        self._top = (self.base + ARENA) << 3
        self._extra = None

    def release_memory(self) -> None:
        """Ends the use of the slab. The store must be gone: wasmtime no longer knows these addresses."""
        slab = self._slab
        if slab is not None and len(_free_slabs) < _MAX_FREE_SLABS:
            _free_slabs.append(slab)
        self._slab = None  # type: ignore[assignment]
        self._extra = None

    def new_handle(self, value: Any, resource: HostResource, number: int) -> int:
        """An owned handle of a host resource, for wasmtime; the address of a `ResourceAny` to delete or give away."""
        table = self.table
        if len(table) >= self.max_resources:
            raise InvocationFailed(
                f"The component holds {len(table)} host resources, its limit.",
                remedy="Drop resources that are no longer needed, or raise the limit of resources.",
                trap="resource limit",
            )
        rep = self.next_rep
        self.next_rep = rep + 1
        host = _templates.get((number, rep)) or _template(number, rep)
        out = self.out
        error = ffi.host_to_any(self.ctx, host, out)
        if rep > _TEMPLATE_REPS:
            ffi.host_delete(host)
        if error:
            raise InvocationFailed(
                f"No handle of {resource.name} could be made: {ffi.take_error(error)}", trap="handle"
            )
        table[rep] = (value, resource)
        return WORDS[out >> 3]

    def rep_of(self, handle: int) -> int:
        """The number under which the host resource behind a handle stands in the table; consumes an owned one."""
        out = self.out
        error = ffi.any_to_host(self.ctx, handle, out)
        if error:
            raise InvocationFailed(f"A handle is not what it should be: {ffi.take_error(error)}", trap="handle")
        host = WORDS[out >> 3]
        rep: int = ffi.host_rep(host)
        ffi.host_delete(host)
        return rep

    def keep(self, resource: ComponentResource) -> ComponentResource:
        """Remembers a resource of the component until it is given back or the sandbox ends."""
        if self.kept is None:
            self.kept = set()
        self.kept.add(resource)
        return resource

    def forget(self, resource: ComponentResource) -> None:
        """Deletes the handle of a resource of the component; its sandbox no longer answers to it.

        The component's destructor does not run: the C API can drop such a resource only in a store that never
        suspends. What it holds goes with the sandbox. Give it to an exported function to have it destroyed before.
        """
        if resource.address:
            ffi.any_delete(resource.address)
            resource.address = 0
        resource.space = None
        if self.kept is not None:
            self.kept.discard(resource)

    def settle(self) -> None:
        """Ends a conversion whose values wasmtime has copied, or the call they were for."""
        self.byte_values = 0
        if self.anys:
            for handle in self.anys:
                ffi.any_delete(handle)
            self.anys.clear()
        if self.lent:
            self._take_back(self.lent)
        if self.consumed:
            for resource in self.consumed:
                self.forget(resource)
            self.consumed.clear()

    def undo(self) -> None:
        """Ends a conversion that failed half-way: its handles never reached the component."""
        self.byte_values = 0
        self._take_back(self.anys)
        self._take_back(self.lent)
        self.consumed.clear()

    def _take_back(self, handles: list[int]) -> None:
        for handle in handles:
            error = ffi.any_to_host(self.ctx, handle, self.out)
            if error:
                ffi.take_error(error)
            else:
                host = WORDS[self.out >> 3]
                self.table.pop(ffi.host_rep(host), None)
                ffi.host_delete(host)
            ffi.any_delete(handle)
        handles.clear()


def _template(number: int, rep: int) -> int:
    host: int = ffi.host_new(True, rep, number)
    if rep <= _TEMPLATE_REPS:
        _templates[number, rep] = host
    return host


def _new_slab() -> tuple[int, Any]:
    held = ffi.buffer(SLAB_BYTES)
    return ffi.address_of(held), held
