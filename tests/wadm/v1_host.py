"""A host of wasmCloud v1 that runs nothing, for tests: v1's subjects, JSON, events and habits, on a bare NATS client.

Nothing of ours is used here, so that both sides of a conversation never come from the same code. It says what v1.9 says
(lattice-protocol 1 to 4 and 9), oddities included: references without their scheme, annotations that a resize does not
change, `component_scaled` twice on a first start, no beats, no label of ours.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import BucketNotFoundError, KeyNotFoundError, NoKeysError
from nats.js.kv import KeyValue

Reply = dict[str, Any]
DIFFERENT = "Requested to scale existing component to a different image reference: {old} != {new}."


class V1Host:
    """Made by `start`; `stop` says goodbye, `kill` does not."""

    def __init__(self, lattice: str, id: str, labels: Mapping[str, str]) -> None:
        self.id = id
        self.labels = {"hostcore.arch": "x86_64", "hostcore.os": "linux", "hostcore.osfamily": "unix", **labels}
        self.components: dict[str, dict[str, Any]] = {}
        self.providers: dict[str, dict[str, Any]] = {}
        self.history: list[tuple[str, str, int]] = []
        """(id, image, count) of every order to start, resize or stop; a provider's count is 1 or 0."""
        self.broken: dict[str, str] = {}
        """Image → the error with which its start fails."""
        self.unsupported: list[str] = []
        """Subjects that v1 does not know."""
        self.inventories = 0
        """How often its inventory was asked for."""
        self._lattice = lattice
        self._nats: Client = Client()
        self._state: KeyValue
        self._configs: KeyValue
        self._work: set[asyncio.Task[None]] = set()

    @classmethod
    async def start(cls, url: str, lattice: str, id: str, **labels: str) -> V1Host:
        self = cls(lattice, id, labels)
        self._nats = await nats.connect(url, name=id)
        stream = self._nats.jetstream()
        self._state = await _bucket(stream, f"LATTICEDATA_{lattice}")
        self._configs = await _bucket(stream, f"CONFIGDATA_{lattice}")
        root = f"wasmbus.ctl.v1.{lattice}"
        for subject, queue in (
            ("registry.put", ""),
            ("host.ping", ""),
            ("component.auction", ""),
            ("provider.auction", ""),
            (f"component.*.{id}", ""),
            (f"provider.*.{id}", ""),
            (f"label.*.{id}", ""),
            (f"host.*.{id}", ""),
            ("link.*", f"{root}.link"),
            ("claims.get", f"{root}.claims"),
            ("config.>", f"{root}.config"),
        ):
            await self._nats.subscribe(f"{root}.{subject}", queue, cb=self._on_control)
        await self._nats.flush()
        started = {"friendly_name": self._name, "labels": self.labels, "uptime_seconds": 0, "version": "1.9.2"}
        await self._tell("host_started", started)
        return self

    async def stop(self) -> None:
        """What v1 does on SIGTERM: it says so, and ends; its work ends with it."""
        await self._tell("host_stopped", {"labels": self.labels})
        await self._nats.flush()
        await self.kill()

    async def kill(self) -> None:
        """Ends as a killed process does: nobody is told."""
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        if not self._nats.is_closed:
            await self._nats.close()

    async def heartbeat(self) -> None:
        """Every 30 s in v1; here when the test says so."""
        await self._tell("host_heartbeat", self._inventory())

    async def put_label(self, key: str, value: str) -> None:
        """As `label.put` does."""
        self.labels[key] = value
        await self._tell("labels_changed", {"host_id": self.id, "labels": self.labels})

    @property
    def _name(self) -> str:
        return f"crimson-{self.id.lower()}-4211"

    def _inventory(self) -> Reply:
        return {
            "host_id": self.id,
            "friendly_name": self._name,
            "version": "1.9.2",
            "uptime_human": "1m 33s",
            "uptime_seconds": 93,
            "labels": self.labels,
            "components": list(self.components.values()),
            "providers": list(self.providers.values()),
        }

    async def _tell(self, name: str, data: Mapping[str, Any]) -> None:
        event = {
            "specversion": "1.0",
            "id": str(uuid.uuid4()),
            "type": f"com.wasmcloud.lattice.{name}",
            "source": self.id,
            "datacontenttype": "application/json",
            "time": "2025-05-31T12:00:00.123456Z",
            "data": data,
        }
        await self._nats.publish(f"wasmbus.evt.{self._lattice}.{name}", json.dumps(event).encode())

    async def _on_control(self, message: Msg) -> None:
        noun, verb, *argument = message.subject.split(".")[4:]
        handlers: dict[str, Callable[[Any, str], Awaitable[Reply | None]]] = {
            "host.ping": self._ping,
            "host.get": self._get,
            "component.scale": self._scale,
            "provider.start": self._start_provider,
            "provider.stop": self._stop_provider,
            "link.put": self._put_link,
            "link.del": self._delete_link,
            "link.get": self._get_links,
            "config.put": self._put_config,
            "config.del": self._delete_config,
            "claims.get": self._claims,
        }
        handler = handlers.get(f"{noun}.{verb}")
        if handler is None:
            self.unsupported.append(message.subject)
            reply: Reply | None = _failure("unsupported subject")
        else:
            request = json.loads(message.data) if message.data else None
            reply = await handler(request, argument[0] if argument else "")
        if reply is not None and message.reply:
            await message.respond(json.dumps(reply).encode())

    def _later(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _ping(self, request: None, argument: str) -> Reply:
        return _ok(
            {
                "id": self.id,
                "friendly_name": self._name,
                "lattice": self._lattice,
                "labels": self.labels,
                "uptime_seconds": 93,
                "uptime_human": "1m 33s",
                "version": "1.9.2",
                "ctl_host": "nats://127.0.0.1:4222",
                "rpc_host": "nats://127.0.0.1:4222",
            }
        )

    async def _get(self, request: None, argument: str) -> Reply:
        self.inventories += 1
        return _ok(self._inventory())

    async def _claims(self, request: None, argument: str) -> Reply:
        return _ok([])

    async def _scale(self, request: Any, argument: str) -> Reply:
        running = self.components.get(request["component_id"])
        self._later(self._scale_in_background(request))
        image = _without_scheme(request["component_ref"])
        if running is not None and request["count"] and running["image_ref"] != image:
            return _success(DIFFERENT.format(old=running["image_ref"], new=image))
        return _success("")

    async def _scale_in_background(self, request: Any) -> None:
        id, count, image = request["component_id"], request["count"], _without_scheme(request["component_ref"])
        self.history.append((id, image, count))
        if count == 0:  # v1 fetches the image for this too, each order in its own task: what comes next overtakes it
            for _ in range(20):
                await _read(self._state, f"COMPONENT_{id}")
        running = self.components.get(id)
        said = {
            "component_id": id,
            "host_id": self.id,
            "image_ref": running["image_ref"] if running else image,
            "max_instances": count,
            "annotations": (running or request)["annotations"] or {},
        }
        error = self.broken.get(image) if count and running is None else None
        for name in request["config"] if count else ():
            if error is None and await _read(self._configs, name) is None:
                error = f"Config {name} does not exist"
        if error is not None:
            await self._tell("component_scale_failed", {**said, "error": error})
            return
        if count == 0:
            self.components.pop(id, None)
        elif running is not None:
            running["max_instances"] = count
        else:
            self.components[id] = {
                "id": id,
                "image_ref": image,
                "annotations": request["annotations"] or {},
                "revision": 0,
                "max_instances": count,
                "limits": request.get("component_limits"),
            }
            if await _read(self._state, f"COMPONENT_{id}") is None:
                await self._state.put(f"COMPONENT_{id}", json.dumps({"url": image, "links": []}).encode())
            await self._tell("component_scaled", said)
        await self._tell("component_scaled", said)

    async def _start_provider(self, request: Any, argument: str) -> Reply:
        if request["provider_id"] in self.providers:
            return _failure("provider with that ID is already running")
        self._later(self._start_provider_in_background(request))
        return _success("successfully started provider")

    async def _start_provider_in_background(self, request: Any) -> None:
        id, image = request["provider_id"], _without_scheme(request["provider_ref"])
        self.history.append((id, image, 1))
        if (error := self.broken.get(image)) is not None:
            failed = {"provider_id": id, "provider_ref": request["provider_ref"], "host_id": self.id}
            await self._tell("provider_start_failed", {**failed, "error": error, "link_name": "default"})
            return
        annotations = request["annotations"] or {}
        self.providers[id] = {"id": id, "image_ref": image, "annotations": annotations, "revision": 0}
        started = {"provider_id": id, "host_id": self.id, "image_ref": image, "annotations": annotations}
        await self._tell("provider_started", started)

    async def _stop_provider(self, request: Any, argument: str) -> Reply:
        provider = self.providers.pop(request["provider_id"], None)
        if provider is None:
            return _failure("provider with that ID is not running")
        self.history.append((provider["id"], provider["image_ref"], 0))
        stopped = {"host_id": self.id, "provider_id": provider["id"], "annotations": provider["annotations"]}
        more = {"instance_id": provider["id"], "public_key": provider["id"], "link_name": "default", "reason": "stop"}
        await self._tell("provider_stopped", {**stopped, **more})
        return _success("successfully stopped provider")

    async def _put_link(self, request: Any, argument: str) -> Reply:
        for name in (*request.get("source_config", ()), *request.get("target_config", ())):
            if await _read(self._configs, name) is None:
                await self._tell("linkdef_set_failed", {**request, "error": "no config"})
                return _failure(
                    f"Failed to validate configuration and secrets. Configuration {name} not found in config store. "
                )
        key = f"COMPONENT_{request['source_id']}"
        stored = await _read(self._state, key)
        spec = json.loads(stored) if stored else {"url": "", "links": []}
        same = ("source_id", "target", "name", "wit_namespace", "wit_package")
        spec["links"] = [each for each in spec["links"] if any(each[k] != request[k] for k in same)] + [request]
        await self._state.put(key, json.dumps(spec).encode())
        await self._tell("linkdef_set", request)
        return _success("successfully set link")

    async def _delete_link(self, request: Any, argument: str) -> Reply:
        key = f"COMPONENT_{request['source_id']}"
        stored = await _read(self._state, key)
        if stored is None:
            return _success("successfully deleted link (spec doesn't exist)")
        spec = json.loads(stored)
        same = ("source_id", "name", "wit_namespace", "wit_package")
        for index, link in enumerate(spec["links"]):
            if all(link[k] == request[k] for k in same):
                del spec["links"][index]
                break
        await self._state.put(key, json.dumps(spec).encode())
        await self._tell("linkdef_deleted", request)
        return _success("successfully deleted link")

    async def links(self) -> list[Any]:
        """All stored links, as v1 answers them."""
        try:
            keys = await self._state.keys()
        except NoKeysError:
            return []
        specs = [await _read(self._state, key) for key in keys if key.startswith("COMPONENT_")]
        return [link for spec in specs if spec for link in json.loads(spec)["links"]]

    async def _get_links(self, request: None, argument: str) -> Reply:
        return _ok(await self.links())

    async def _put_config(self, request: Any, name: str) -> Reply:
        await self._configs.put(name, json.dumps(request).encode())
        await self._tell("config_set", {"config_name": name})
        return _success("successfully put config")

    async def _delete_config(self, request: None, name: str) -> Reply:
        await self._configs.purge(name)
        await self._tell("config_deleted", {"config_name": name})
        return _success("successfully deleted config")


def _ok(response: Any) -> Reply:
    return {"success": True, "message": "", "response": response}


def _success(message: str) -> Reply:
    return {"success": True, "message": message}


def _failure(message: str) -> Reply:
    return {"success": False, "message": message}


def _without_scheme(reference: str) -> str:
    """v1 tells references without the scheme that they were asked for with (lattice-protocol 9.4)."""
    for scheme in ("file://", "oci://", "wasmcloud+builtin://"):
        if reference.startswith(scheme):
            return reference.removeprefix(scheme)
    return reference


async def _bucket(stream: Any, name: str) -> KeyValue:
    """v1 takes a bucket that exists as it is."""
    try:
        return await stream.key_value(name)
    except BucketNotFoundError:
        return await stream.create_key_value(bucket=name)


async def _read(bucket: KeyValue, key: str) -> bytes | None:
    try:
        return (await bucket.get(key)).value
    except KeyNotFoundError:
        return None
