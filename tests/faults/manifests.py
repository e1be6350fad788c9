"""What a campaign deploys."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tests.fixtures.lattice import ROOT

__all__ = ["INSTANCES", "hello"]

IMAGE = f"file://{ROOT}/examples/http-hello-c/http-hello.wasm"
INSTANCES = 200
"""Requests that the component answers at a time, on all hosts of a spread together."""


def hello(
    port: int,
    *,
    everywhere: bool = False,
    edge: Mapping[str, str] = MappingProxyType({"role": "edge"}),
    instances: int = INSTANCES,
    image: str = IMAGE,
    version: str = "",
) -> dict[str, Any]:
    """A greeting over HTTP: listened for on hosts with the labels `edge`, answered on one or all with role=worker."""
    role = {"role": "worker"}
    if everywhere:
        spread = {"type": "daemonscaler", "properties": {"instances": instances, "spread": [_rule("worker", role)]}}
    else:
        spread = {"type": "spreadscaler", "properties": {"instances": instances, "spread": [_rule("worker", role)]}}
    listen = {"name": "listen", "properties": {"address": f"0.0.0.0:{port}"}}
    annotations = {"description": "A greeting under fire", **({"version": version} if version else {})}
    return {
        "apiVersion": "core.oam.dev/v1beta1",
        "kind": "Application",
        "metadata": {"name": "greet", "annotations": annotations},
        "spec": {
            "components": [
                {"name": "hello", "type": "component", "properties": {"image": image}, "traits": [spread]},
                {
                    "name": "http",
                    "type": "capability",
                    "properties": {"image": "http-server"},
                    "traits": [
                        {
                            "type": "daemonscaler",
                            "properties": {"instances": 1, "spread": [_rule("edge", dict(edge))]},
                        },
                        {
                            "type": "link",
                            "properties": {
                                "target": {"name": "hello"},
                                "namespace": "wasi",
                                "package": "http",
                                "interfaces": ["incoming-handler"],
                                "source": {"config": [listen]},
                            },
                        },
                    ],
                },
            ]
        },
    }


def _rule(name: str, requirements: dict[str, str]) -> dict[str, Any]:
    return {"name": name, "requirements": requirements}
