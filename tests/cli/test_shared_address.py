"""Two applications at one address of `trellis up --hosts 2`: each host accepts, and answers for both."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.fixtures import components
from tests.fixtures.lattice import Lattice, free_port, lattice

pytestmark = pytest.mark.journey

PATIENCE = 30.0


def application(folder: Path, name: str, wasm: bytes, port: int, http_servers: int) -> Path:
    image = folder / f"{name}.wasm"
    image.write_bytes(wasm)
    listen = {"address": f"127.0.0.1:{port}", "path": f"/{name}"}
    link = {
        "target": {"name": "hello"},
        "namespace": "wasi",
        "package": "http",
        "interfaces": ["incoming-handler"],
        "source": {"config": [{"name": "listen", "properties": listen}]},
    }
    manifest = {
        "apiVersion": "core.oam.dev/v1beta1",
        "kind": "Application",
        "metadata": {"name": name, "annotations": {}},
        "spec": {
            "components": [
                {
                    "name": "hello",
                    "type": "component",
                    "properties": {"image": image.as_uri()},
                    "traits": [{"type": "spreadscaler", "properties": {"instances": 100}}],
                },
                {
                    "name": "http",
                    "type": "capability",
                    "properties": {"image": "http-server"},
                    "traits": [
                        {"type": "spreadscaler", "properties": {"instances": http_servers}},
                        {"type": "link", "properties": link},
                    ],
                },
            ]
        },
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(manifest))
    return path


async def http_servers(running: Lattice) -> dict[str, list[str]]:
    """Host → http-servers on it."""
    answer: dict[str, Any] = await running.trellis("get", "inventory")
    return {each["host_id"]: sorted(p["id"] for p in each["providers"]) for each in answer["inventories"]}


async def get(url: str) -> tuple[int, str]:
    """A request on a connection of its own."""
    async with httpx.AsyncClient(timeout=PATIENCE, verify=False) as client:  # else it reads all CAs each time
        answer = await client.get(url)
    return answer.status_code, answer.text


async def test_both_hosts_answer_for_both_applications_and_one_may_go(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with lattice("--hosts", "2") as running:
        for name, wasm, count in (("c", components.http_hello_c(), 2), ("wat", components.http_hello_wat(), 1)):
            await running.trellis("app", "deploy", str(application(tmp_path, name, wasm, port, count)))
        assert sorted(map(len, (await http_servers(running)).values())) == [1, 2]
        for _ in range(40):
            assert await get(f"{url}/c") == (200, "Hello from C!\n")
            assert await get(f"{url}/wat") == (200, "Hello from WAT!\n")
        assert (await get(f"{url}/else"))[0] == 404

        pids = {host["id"]: host["pid"] for host in running.info["hosts"]}
        busy = {host: servers for host, servers in (await http_servers(running)).items() if len(servers) == 2}
        answers: list[tuple[int, str]] = []
        enough = asyncio.Event()

        async def load() -> None:
            while not enough.is_set():
                answers.append(await get(f"{url}/c"))

        async with asyncio.TaskGroup() as tasks, asyncio.timeout(PATIENCE):
            for _ in range(4):
                tasks.create_task(load())
            [leaver] = busy
            os.kill(pids[leaver], signal.SIGTERM)
            while len(await http_servers(running)) != 1 or len(answers) < 100:
                await asyncio.sleep(0)
            enough.set()
        assert set(answers) == {(200, "Hello from C!\n")}
        async with asyncio.timeout(PATIENCE):
            while await get(f"{url}/wat") != (200, "Hello from WAT!\n"):
                await asyncio.sleep(0.1)
