"""Many runs, each with its own mixture of applications, faults and weather, all of it decided by the seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from random import Random
from typing import Any

from trellis_sim.bus import Weather
from trellis_sim.faults import Faults
from trellis_sim.simulation import Result, Scenario, simulate
from trellis_sim.universe import Starts
from trellis_wadm.manifest.model import Manifest
from trellis_wadm.planner import Desired, desired_of

__all__ = ["campaign", "scenario_of"]

_ZONES = ({"zone": "a"}, {"zone": "b"}, {"zone": "a"}, {"zone": "c"}, {"zone": "b"})


def scenario_of(seed: int, *, hosts: int = 5, duration: float = 60.0) -> Scenario:
    """The scenario that a campaign runs under this seed."""
    random = Random(f"scenario {seed}")

    def sometimes(share: float, most: float) -> float:
        return random.uniform(0.0, most) if random.random() < share else 0.0

    faults = Faults(
        kill_rate=sometimes(0.7, 0.6),
        leave_rate=sometimes(0.3, 0.3),
        partition_rate=sometimes(0.5, 0.4),
        freeze_rate=sometimes(0.3, 0.3),
        split_rate=sometimes(0.25, 0.6),
        nats_rate=sometimes(0.25, 0.5),
        cordon_rate=sometimes(0.25, 0.3),
        change_rate=sometimes(0.4, 1.5),
    )
    bad = random.random() < 0.4
    weather = Weather(
        loss=sometimes(0.6, 0.03) if bad else 0.0,
        duplication=sometimes(0.5, 0.05) if bad else 0.0,
        reorder=sometimes(0.5, 0.05) if bad else 0.0,
    )
    starts = Starts(slow=sometimes(0.3, 4.0), failing=sometimes(0.15, 0.3))
    return Scenario(_some_applications(random), hosts, duration, _ZONES, faults, weather, starts)


def campaign(seeds: Iterable[int], *, hosts: int = 5, duration: float = 60.0) -> Iterator[Result]:
    """Runs every seed."""
    for seed in seeds:
        yield simulate(scenario_of(seed, hosts=hosts, duration=duration), seed)


def _some_applications(random: Random) -> list[Desired]:
    """Two to four versions of what is deployed, each of one or two applications."""
    names = random.sample(sorted(_APPLICATIONS), random.randint(1, 2))
    versions = [_desired(tuple(names), number) for number in random.sample(range(3), 3)]
    if len(names) > 1 and random.random() < 0.5:
        versions.append(_desired(tuple(names[:1]), 0))
    return versions


@lru_cache(maxsize=64)
def _desired(names: tuple[str, ...], version: int) -> Desired:
    return desired_of(Manifest.model_validate(_APPLICATIONS[name](name, version)) for name in names)


def _manifest(name: str, version: int, *components: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "core.oam.dev/v1beta1",
        "kind": "Application",
        "metadata": {"name": name, "annotations": {"version": f"v{version}"}},
        "spec": {"components": list(components)},
    }


def _workload(name: str, image: str, *traits: Mapping[str, Any], provider: bool = False) -> dict[str, Any]:
    kind = "capability" if provider else "component"
    return {"name": name, "type": kind, "properties": {"image": image}, "traits": list(traits)}


def _spread(instances: int, *groups: tuple[str, int, Mapping[str, str]], daemon: bool = False) -> dict[str, Any]:
    spread = [{"name": name, "weight": weight, "requirements": dict(labels)} for name, weight, labels in groups]
    properties = {"instances": instances, **({"spread": spread} if spread else {})}
    return {"type": "daemonscaler" if daemon else "spreadscaler", "properties": properties}


def _link(target: str, **config: str) -> dict[str, Any]:
    configs = [{"name": f"{target}-settings", "properties": config}] if config else []
    return {
        "type": "link",
        "properties": {
            "target": {"name": target, "config": configs},
            "namespace": "wasi",
            "package": "keyvalue",
            "interfaces": ["store"],
        },
    }


def _counter(name: str, version: int) -> dict[str, Any]:
    return _manifest(
        name,
        version,
        _workload(
            "counter", f"file:///counter{version // 2}.wasm", _spread(4 - version), _link("kv", size=str(version))
        ),
        _workload("kv", "kv:1", _spread(1 + version % 2), provider=True),
    )


def _zoned(name: str, version: int) -> dict[str, Any]:
    groups = (("a", 60 + 20 * version, {"zone": "a"}), ("b", 40, {"zone": "b"}))
    return _manifest(name, version, _workload("worker", "file:///worker.wasm", _spread(5 + version, *groups)))


def _everywhere(name: str, version: int) -> dict[str, Any]:
    group = ("fit", 100, {"zone": "ab"[version % 2]})
    return _manifest(
        name,
        version,
        _workload("agent", "file:///agent.wasm", _spread(1 + version, group, daemon=True), _link("store")),
        _workload("store", f"store:{version}", _spread(2, ("any", 100, {})), provider=True),
    )


def _single(name: str, version: int) -> dict[str, Any]:
    return _manifest(name, version, _workload("one", f"file:///one{version}.wasm", _spread(1)))


_APPLICATIONS = {"counter": _counter, "zoned": _zoned, "everywhere": _everywhere, "single": _single}
