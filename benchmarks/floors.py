"""The least that one HTTP request into a component costs from Python: a bare loop on wasmtime's C API.

A fresh store and instance from the pool, converters written by hand for exactly the functions that a hello calls,
no errors, no limits, no deadline, one resource table for all. The engine and WASI are measured against it, in
the same process and minute. The epoch ticker runs, and each call is polled until it is done, as a driver must.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import c_bool, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from typing import Any

from wasmtime import _ffi
from wasmtime.component import Component, Linker, ResourceType

from benchmarks.bare_wasmtime import (
    VALUE,
    Ticker,
    call,
    declare,
    epoch_yields,
    future_delete,
    get_func,
    instantiate,
    poll,
    pooled_engine,
    set_epoch_deadline,
    store_context,
    store_delete,
    store_new,
)

__all__ = ["HttpLoop"]

_RESULT, _RESOURCE = 19, 21
_CALLBACK = ctypes.CFUNCTYPE(c_size_t, c_void_p, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t)
_FINALIZER = ctypes.CFUNCTYPE(None, c_void_p)
_P = c_void_p
_host_new = declare("wasmtime_component_resource_host_new", _P, c_bool, c_uint32, c_uint32)
_host_rep = declare("wasmtime_component_resource_host_rep", c_uint32, _P)
_host_delete = declare("wasmtime_component_resource_host_delete", None, _P)
_host_to_any = declare("wasmtime_component_resource_host_to_any", _P, _P, _P, _P)
_any_to_host = declare("wasmtime_component_resource_any_to_host", _P, _P, _P, _P)
_any_delete = declare("wasmtime_component_resource_any_delete", None, _P)
_val_new = declare("wasmtime_component_val_new", _P, _P)
_add_func = declare("wasmtime_component_linker_instance_add_func", _P, _P, ctypes.c_char_p, c_size_t, _CALLBACK, _P, _P)


def _address(pointer: Any) -> int:
    return ctypes.cast(pointer, c_void_p).value or 0


class HttpLoop:
    """`request()` answers one HTTP request by one fresh sandbox of `wasm`, and returns the body it wrote."""

    def __init__(self, wasm: bytes) -> None:
        self._engine = pooled_engine()
        self._component = Component(self._engine, wasm)
        self._linker = Linker(self._engine)
        self._keep: list[Any] = []
        self._table: dict[int, object] = {}
        self._types: dict[str, int] = {}
        self._last = 0
        self._body = b""
        self._link()
        handler = next(n for n in self._component.type.exports(self._engine) if "incoming-handler" in n)
        index = self._component.get_export_index("handle", self._component.get_export_index(handler))
        self._keep.append(index)
        self._handle = _address(index.ptr())  # type: ignore[union-attr]
        self._addresses = tuple(_address(x.ptr()) for x in (self._engine, self._linker, self._component))
        self._ticker = Ticker(self._engine)

    def close(self) -> None:
        """Stops the ticker."""
        self._ticker.close()

    def request(self) -> bytes:
        """One request, from store to drop."""
        engine, linker, component = self._addresses
        store = store_new(engine, None, None)
        context = store_context(store)
        set_epoch_deadline(context, 1)
        epoch_yields(context, 1)
        instance = _ffi.wasmtime_component_instance_t()
        function = _ffi.wasmtime_component_func_t()
        error = c_void_p()
        future = instantiate(linker, context, component, ctypes.addressof(instance), ctypes.addressof(error))
        while not poll(future):
            pass
        future_delete(future)
        get_func(ctypes.addressof(instance), context, self._handle, ctypes.addressof(function))
        values = (c_uint8 * (2 * VALUE))()
        arguments = ctypes.addressof(values)
        self._put(context, arguments, self._type("incoming-request"), {})
        self._put(context, arguments + VALUE, self._type("response-outparam"), {})
        future = call(ctypes.addressof(function), context, arguments, 2, None, 0, ctypes.addressof(error))
        while not poll(future):
            pass
        future_delete(future)
        if error.value:
            raise RuntimeError("the component failed")
        _any_delete(c_uint64.from_address(arguments + 8).value)
        _any_delete(c_uint64.from_address(arguments + VALUE + 8).value)
        store_delete(store)
        return self._body

    def _type(self, name: str) -> int:
        same = {"io-error": "error", "headers": "fields", "trailers": "fields"}
        return self._types.setdefault(same.get(name, name), len(self._types) + 1)

    def _put(self, context: int, at: int, type: int, value: object) -> None:
        """Writes a new owned resource as the component value at `at`."""
        self._last += 1
        self._table[self._last] = value
        host = _host_new(True, self._last, type)
        out = c_void_p()
        _host_to_any(context, host, ctypes.addressof(out))
        _host_delete(host)
        c_uint8.from_address(at).value = _RESOURCE
        c_uint64.from_address(at + 8).value = out.value or 0

    def _take(self, context: int, at: int) -> int:
        """The number of the resource at `at`; gives the handle back."""
        out = c_void_p()
        _any_to_host(context, c_uint64.from_address(at + 8).value, ctypes.addressof(out))
        number: int = _host_rep(out)
        _host_delete(out)
        return number

    def _drop(self, store: Any, number: int) -> None:
        self._table.pop(number, None)

    def _link(self) -> None:
        functions = self._functions()
        with self._linker.root() as root:
            for name, item in self._component.type.imports(self._engine).items():
                with root.add_instance(name) as instance:
                    for export, entry in item.ty.exports(self._engine).items():  # type: ignore[union-attr]
                        if type(entry.ty).__name__ == "ResourceType":
                            instance.add_resource(export, ResourceType.host(self._type(export)), self._drop)
                        elif type(entry.ty).__name__ == "FuncType":
                            self._define(instance, export, functions[export])

    def _define(self, instance: Any, name: str, function: Callable[..., int]) -> None:
        callback, finalizer, raw = _CALLBACK(function), _FINALIZER(lambda data: None), name.encode()
        self._keep += [callback, finalizer]
        if _add_func(_address(instance.ptr()), raw, len(raw), callback, None, ctypes.cast(finalizer, c_void_p)):
            raise RuntimeError(f"cannot define {name}")

    def _functions(self) -> dict[str, Callable[..., int]]:
        """What a hello calls. (data, context, type, arguments, count, results, count) → 0"""
        put, take = self._put, self._take
        fields, response = self._type("fields"), self._type("outgoing-response")
        body, stream = self._type("outgoing-body"), self._type("output-stream")

        def ok(at: int, payload: int) -> None:
            c_uint8.from_address(at).value = _RESULT
            c_uint8.from_address(at + 8).value = 1
            c_uint64.from_address(at + 16).value = payload

        def ok_resource(context: int, at: int, type: int) -> None:
            value = (c_uint8 * VALUE)()
            put(context, ctypes.addressof(value), type, {})
            ok(at, _val_new(ctypes.addressof(value)))

        def new_fields(data: int, context: int, ty: int, a: int, n: int, r: int, m: int) -> int:
            put(context, r, fields, [])
            return 0

        def new_response(data: int, context: int, ty: int, a: int, n: int, r: int, m: int) -> int:
            take(context, a)
            put(context, r, response, {})
            return 0

        def take_ok(data: int, context: int, ty: int, a: int, n: int, r: int, m: int) -> int:
            take(context, a)
            ok(r, 0)
            return 0

        def take_only(data: int, context: int, ty: int, a: int, n: int, r: int, m: int) -> int:
            take(context, a)
            return 0

        def get_body(data: int, context: int, ty: int, a: int, n: int, r: int, m: int) -> int:
            take(context, a)
            ok_resource(context, r, body)
            return 0

        def get_stream(data: int, context: int, ty: int, a: int, n: int, r: int, m: int) -> int:
            take(context, a)
            ok_resource(context, r, stream)
            return 0

        def write(data: int, context: int, ty: int, a: int, n: int, r: int, m: int) -> int:
            take(context, a)
            length = c_uint64.from_address(a + VALUE + 8).value
            items = c_uint64.from_address(a + VALUE + 16).value
            self._body = ctypes.string_at(items, length * VALUE)[8::VALUE]
            ok(r, 0)
            return 0

        return {
            "[constructor]fields": new_fields,
            "[method]fields.append": take_ok,
            "[constructor]outgoing-response": new_response,
            "[method]outgoing-response.body": get_body,
            "[static]response-outparam.set": take_only,
            "[method]outgoing-body.write": get_stream,
            "[method]output-stream.blocking-write-and-flush": write,
            "[static]outgoing-body.finish": take_ok,
        }
