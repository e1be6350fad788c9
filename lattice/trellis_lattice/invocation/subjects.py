"""Subjects of the data plane, built and parsed (docs/protocol.md, "Subjects"). Pure.

    trellis.v1.<lattice>.rpc.<target>                 calls to any instance of a target; queue group: the same text
    trellis.v1.<lattice>.cancel.<target>              a caller gave up; every host that serves the target hears it
    trellis.v1.<lattice>.instance.<server>.<serial>   calls on resources that one instance holds
    trellis.v1.<lattice>.describe.<target>            what a target answers; queue group: the same text
    trellis.v1.<lattice>.trace.get                    recent spans of a trace; every host answers
    trellis.v1.<lattice>.routes.<listener>            HTTP routes of the hosts that share a listening socket
    trellis.v1.<lattice>.routes.<listener>.get        the same, asked for; each of these hosts answers

An instance is named `<server>.<serial>`, so that a host listens to all of its instances with one
subscription that exists before the first handle leaves it.
"""

from __future__ import annotations

from functools import lru_cache

from trellis_lattice.subjects import check_id, check_lattice, check_token

__all__ = ["cancel", "describe", "instance", "instances", "parse_instance", "routes", "routes_get", "rpc", "trace_get"]


@lru_cache(maxsize=4096)
def rpc(lattice: str, target: str) -> str:
    """Where calls to `target` go; also the name of the queue group of those who answer."""
    return f"trellis.v1.{check_lattice(lattice)}.rpc.{check_id(target)}"


@lru_cache(maxsize=4096)
def cancel(lattice: str, target: str) -> str:
    """Where callers say that they no longer wait."""
    return f"trellis.v1.{check_lattice(lattice)}.cancel.{check_id(target)}"


def describe(lattice: str, target: str) -> str:
    """Where a target is asked for its interfaces; also the name of the queue group of those who answer."""
    return f"trellis.v1.{check_lattice(lattice)}.describe.{check_id(target)}"


def instance(lattice: str, name: str) -> str:
    """Where calls on the resources of instance `name` (`<server>.<serial>`) go."""
    server, _, serial = name.partition(".")
    return f"trellis.v1.{check_lattice(lattice)}.instance.{check_token(server)}.{check_token(serial)}"


def instances(lattice: str, server: str) -> str:
    """The subject to subscribe to for every instance of one server."""
    return f"trellis.v1.{check_lattice(lattice)}.instance.{check_token(server)}.*"


def parse_instance(subject: str) -> str | None:
    """The name of the instance that a subject addresses."""
    tokens = subject.split(".")
    if len(tokens) != 6 or tokens[:2] != ["trellis", "v1"] or tokens[3] != "instance" or not all(tokens):
        return None
    return f"{tokens[4]}.{tokens[5]}"


def trace_get(lattice: str) -> str:
    """Where recent spans are asked for."""
    return f"trellis.v1.{check_lattice(lattice)}.trace.get"


def routes(lattice: str, listener: str) -> str:
    """Where hosts that accept from the same listening socket say which HTTP routes they have."""
    return f"trellis.v1.{check_lattice(lattice)}.routes.{check_token(listener)}"


def routes_get(lattice: str, listener: str) -> str:
    """Where those hosts are asked for them."""
    return f"{routes(lattice, listener)}.get"
