"""Components in a real registry (Debian's `docker-registry`), open and behind a password."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from tests.fixtures import components
from tests.fixtures.lattice import free_port
from tests.host.fake_registry import digest
from tests.host.support import Operator, running_host, soon
from trellis_host.runtime.images import Images
from trellis_host.runtime.registries import Registries
from trellis_host.settings import ImageSettings
from trellis_lattice.control.registry import RegistryCredential
from trellis_lattice.errors import Denied, NotFound

pytestmark = pytest.mark.backends

HTPASSWD = "reader:$2y$05$u2fYjzYQKckhE4AkcqJFQ.GXJuNOyD97ICY9LJATdHkd8x4qlRA66\n"
LOGIN = ("reader", "secret")


@asynccontextmanager
async def real_registry(folder: Path, *, password: bool) -> AsyncIterator[str]:
    """`host:port` of a registry of its own."""
    program = shutil.which("docker-registry")
    assert program is not None, "install the package docker-registry"
    folder.mkdir()
    name = f"127.0.0.1:{free_port()}"
    config = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": name},
    }
    if password:
        (folder / "htpasswd").write_text(HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    (folder / "config.yml").write_text(yaml.safe_dump(config))
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program, "serve", str(folder / "config.yml"), stdout=log, stderr=log
        )
    try:
        async with httpx.AsyncClient() as http:
            await _until_it_answers(http, f"http://{name}/v2/")
        yield name
    finally:
        process.terminate()
        await process.wait()


async def _until_it_answers(http: httpx.AsyncClient, url: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await http.get(url)
                return
            except httpx.TransportError:
                await asyncio.sleep(0.02)


async def push(registry: str, repository: str, tag: str, wasm: bytes) -> str:
    """Puts a component there as tools for WebAssembly do; answers the manifest's digest."""
    root = f"http://{registry}/v2/{repository}"
    settings = b'{"architecture":"wasm","os":"wasip2"}'
    async with httpx.AsyncClient(auth=LOGIN) as http:
        for blob in (wasm, settings):
            begun = await http.post(f"{root}/blobs/uploads/")
            place = httpx.URL(begun.headers["location"]).copy_merge_params({"digest": digest(blob)})
            done = await http.put(place, content=blob)
            assert done.status_code == 201, done.text
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.wasm.config.v0+json",
                "digest": digest(settings),
                "size": len(settings),
            },
            "layers": [{"mediaType": "application/wasm", "digest": digest(wasm), "size": len(wasm)}],
        }
        put = await http.put(
            f"{root}/manifests/{tag}",
            content=json.dumps(manifest),
            headers={"content-type": str(manifest["mediaType"])},
        )
        assert put.status_code == 201, put.text
        return put.headers["docker-content-digest"]


async def test_tags_move_and_digests_do_not(tmp_path: Path) -> None:
    images = Images(ImageSettings(), Registries(), tmp_path / "images")
    async with real_registry(tmp_path / "registry", password=False) as registry:
        first = await push(registry, "you/app", "1", components.echo())
        await push(registry, "you/app", "1", components.add())

        assert await images.fetch(f"{registry}/you/app:1", deadline=soon()) == components.add()
        assert await images.fetch(f"oci://{registry}/you/app:1@{first}", deadline=soon()) == components.echo()
        with pytest.raises(NotFound, match="manifest unknown"):
            await images.fetch(f"{registry}/you/app:2", deadline=soon())
        with pytest.raises(NotFound):
            await images.fetch(f"{registry}/nobody:1", deadline=soon())


async def test_a_registry_behind_a_password(tmp_path: Path) -> None:
    async with real_registry(tmp_path / "registry", password=True) as registry:
        await push(registry, "app", "1", components.echo())
        wrong = RegistryCredential(username="reader", password="wrong")
        right = RegistryCredential(username=LOGIN[0], password=LOGIN[1])
        registries = Registries()
        images = Images(ImageSettings(), registries, tmp_path / "images")

        with pytest.raises(Denied, match="wants credentials"):
            await images.fetch(f"{registry}/app:1", deadline=soon())
        registries.put({registry: wrong})
        with pytest.raises(Denied, match="does not accept"):
            await images.fetch(f"{registry}/app:1", deadline=soon())
        registries.put({registry: right})
        assert await images.fetch(f"{registry}/app:1", deadline=soon()) == components.echo()


async def test_a_host_runs_what_a_registry_holds(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with (
        real_registry(tmp_path / "registry", password=False) as registry,
        running_host(nats_server, lattice, tmp_path) as one,
    ):
        await push(registry, "echo", "1", components.echo())
        await operator.start_component(one, "echo", f"{registry}/echo:1")
        assert [each.image for each in one.state.components] == [f"{registry}/echo:1"]
