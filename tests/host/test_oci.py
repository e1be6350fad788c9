"""Components from a registry: what is asked for, what is believed, and what is said when there is none."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.fixtures import components
from tests.host.fake_registry import FakeRegistry, digest, fake_registry, manifest_of
from tests.host.support import Operator, running_host, soon
from trellis_host.runtime.images import Images
from trellis_host.runtime.registries import Registries
from trellis_host.settings import ImageSettings
from trellis_lattice.control import registry as control
from trellis_lattice.control.registry import RegistryCredential
from trellis_lattice.errors import Denied, NotFound, PeerMisbehaved, RequestInvalid, TrellisError, Unavailable

WASM = b"\0asm, more or less"


@pytest_asyncio.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    async with fake_registry() as fake:
        yield fake


def images_with(folder: Path, settings: ImageSettings | None = None, **credentials: RegistryCredential) -> Images:
    return Images(settings or ImageSettings(), Registries(credentials), folder / "images")


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return images_with(tmp_path)


async def test_a_tag_is_asked_for_each_time_and_a_blob_once(registry: FakeRegistry, images: Images) -> None:
    registry.hold("you/echo", "1.0", WASM)
    reference = f"{registry.name}/you/echo:1.0"

    assert await images.fetch(reference, deadline=soon()) == WASM
    assert await asyncio.gather(*(images.fetch(f"oci://{reference}", deadline=soon()) for _ in range(3))) == [WASM] * 3
    assert [each.path for each in registry.asked].count("/v2/you/echo/manifests/1.0") == 4
    assert [each.path for each in registry.asked].count(f"/v2/you/echo/blobs/{digest(WASM)}") == 1
    assert "application/vnd.oci.image.index.v1+json" in registry.asked[0].headers["accept"]


async def test_an_index_leads_to_the_manifest_for_wasm(registry: FakeRegistry, images: Images) -> None:
    registry.hold("echo", "unused", WASM)
    inner = manifest_of(WASM)
    entry = {"mediaType": "x", "digest": digest(inner), "size": len(inner), "platform": {"architecture": "wasm"}}
    registry.answers[f"/v2/echo/manifests/{digest(inner)}"] = (200, {}, inner)
    registry.answers["/v2/echo/manifests/1"] = (200, {}, json.dumps({"manifests": [entry]}).encode())

    assert await images.fetch(f"{registry.name}/echo:1", deadline=soon()) == WASM


async def test_a_token_is_fetched_where_the_registry_says(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.hold("echo", "1", WASM)
    registry.token = "t0ken"
    login = RegistryCredential(username="me", password="secret")

    assert await images_with(tmp_path / "a").fetch(f"{registry.name}/echo:1", deadline=soon()) == WASM
    known = images_with(tmp_path / "b", **{registry.name: login})
    assert await known.fetch(f"{registry.name}/echo:1", deadline=soon()) == WASM
    anonymous, mine = (each for each in registry.asked if each.path == "/token")
    assert anonymous.query == {"service": ["fake"], "scope": ["repository:echo:pull"]}
    assert "authorization" not in anonymous.headers
    assert mine.headers["authorization"] == "Basic " + base64.b64encode(b"me:secret").decode()


async def test_a_token_of_its_own_goes_along_as_it_is(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.hold("echo", "1", WASM)
    registry.token = "t0ken"
    images = images_with(tmp_path, **{registry.name: RegistryCredential(token="t0ken")})

    assert await images.fetch(f"{registry.name}/echo:1", deadline=soon()) == WASM
    assert all(each.path != "/token" for each in registry.asked)


async def test_a_redirect_does_not_take_the_credentials_along(registry: FakeRegistry, images: Images) -> None:
    async with fake_registry() as elsewhere:
        registry.token = "t0ken"
        registry.hold("echo", "1", WASM)
        elsewhere.answers["/data"] = (200, {}, WASM)
        moved = {"location": f"http://{elsewhere.name}/data"}
        registry.answers[f"/v2/echo/blobs/{digest(WASM)}"] = (307, moved, b"")

        assert await images.fetch(f"{registry.name}/echo:1", deadline=soon()) == WASM
        assert "authorization" not in elsewhere.asked[0].headers


async def test_latest_only_where_it_is_allowed(registry: FakeRegistry, images: Images, tmp_path: Path) -> None:
    registry.hold("echo", "latest", WASM)
    for reference in (f"{registry.name}/echo:latest", f"{registry.name}/echo"):
        with pytest.raises(Denied, match="'latest' is prohibited"):
            await images.fetch(reference, deadline=soon())
        allowed = images_with(tmp_path, ImageSettings(allow_latest=True))
        assert await allowed.fetch(reference, deadline=soon()) == WASM


async def test_what_comes_must_be_what_was_promised(registry: FakeRegistry, images: Images) -> None:
    registry.hold("forged", "1", WASM)
    registry.answers[f"/v2/forged/blobs/{digest(WASM)}"] = (200, {}, WASM[::-1])
    registry.hold("longer", "1", WASM)
    registry.answers[f"/v2/longer/blobs/{digest(WASM)}"] = (200, {}, WASM + b"more")
    registry.hold("huge", "1", WASM, size=2**40)
    circle = {"location": f"http://{registry.name}/v2/circle/manifests/1"}
    registry.answers["/v2/circle/manifests/1"] = (302, circle, b"")
    manifest = manifest_of(WASM)
    registry.answers[f"/v2/other/manifests/{digest(manifest)}"] = (200, {}, manifest + b" ")

    for name, error, why in (
        ("forged:1", PeerMisbehaved, "something else"),
        ("longer:1", PeerMisbehaved, "more than the"),
        ("huge:1", RequestInvalid, "bytes; "),
        ("circle:1", PeerMisbehaved, "circles"),
        (f"other@{digest(manifest)}", PeerMisbehaved, "something else"),
    ):
        with pytest.raises(error, match=why):
            await images.fetch(f"{registry.name}/{name}", deadline=soon())


@pytest.mark.parametrize(
    ("status", "headers", "error"),
    [
        (404, {}, NotFound),
        (401, {}, Denied),
        (403, {}, Denied),
        (429, {"retry-after": "7"}, Unavailable),
        (503, {}, Unavailable),
        (418, {}, PeerMisbehaved),
    ],
)
async def test_every_refusal_names_image_and_registry(
    registry: FakeRegistry, images: Images, status: int, headers: dict[str, str], error: type[TrellisError]
) -> None:
    said = b'{"errors":[{"code":"X","message":"because of\\nthis"}]}'
    registry.answers["/v2/echo/manifests/1"] = (status, headers, said)

    with pytest.raises(error) as caught:
        await images.fetch(f"{registry.name}/echo:1", deadline=soon())

    assert f"{registry.name}/echo:1" in caught.value.message
    assert caught.value.fields["registry"] == registry.name
    assert "because of this" in caught.value.message or status == 401
    if status == 429:
        assert caught.value.fields["retry_after"] == 7.0


async def test_credentials_are_never_shown(registry: FakeRegistry, tmp_path: Path) -> None:
    basic = {"www-authenticate": 'Basic realm="x"'}
    registry.answers["/v2/echo/manifests/1"] = (401, basic, b"")
    images = images_with(tmp_path, **{registry.name: RegistryCredential(username="me", password="s3cret")})

    with pytest.raises(Denied, match="does not accept") as caught:
        await images.fetch(f"{registry.name}/echo:1", deadline=soon())

    assert "s3cret" not in str(caught.value) + str(caught.value.fields)


async def test_without_tls_only_where_it_is_allowed(registry: FakeRegistry, tmp_path: Path) -> None:
    """A name that is not of this machine by its spelling is spoken to in TLS, which this registry does not."""
    registry.hold("echo", "1", WASM)
    name = f"127.1:{registry.port}"

    with pytest.raises(Unavailable) as caught:
        await images_with(tmp_path / "a").fetch(f"{name}/echo:1", deadline=soon())
    assert "allowed-insecure" in str(caught.value)
    allowed = images_with(tmp_path / "b", ImageSettings(allowed_insecure=frozenset({name})))
    assert await allowed.fetch(f"{name}/echo:1", deadline=soon()) == WASM


async def test_a_host_runs_an_image_with_credentials_from_the_lattice(
    registry: FakeRegistry, nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    registry.hold("echo", "1", components.echo())
    registry.token = "t0ken"
    reference = f"{registry.name}/echo:1"
    async with running_host(nats_server, lattice, tmp_path) as one:
        answer = await operator.ask(control.PUT, {registry.name: RegistryCredential(token="wrong")})
        assert (answer.success, answer.message) == (True, "successfully put registries")
        await operator.scale(one, "echo", reference)
        failed = await operator.heard("component_scale_failed", component_id="echo")
        assert isinstance(failed.event.exception, Denied)  # type: ignore[union-attr]

        await operator.ask(control.PUT, {registry.name: RegistryCredential(token="t0ken")})
        await operator.start_component(one, "echo", reference)
        assert [each.image for each in one.state.components] == [reference]
