"""Where images come from, and what is said when they do not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.host.support import soon
from trellis_host.runtime.images import Images
from trellis_host.runtime.registries import Registries
from trellis_host.settings import ImageSettings
from trellis_lattice.errors import DeadlineExceeded, Denied, NotFound, RequestInvalid, TrellisError, Unavailable


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(ImageSettings(), Registries(), tmp_path / "images")


@pytest_asyncio.fixture
async def server() -> AsyncIterator[str]:
    """An HTTP server: /ok answers eight bytes, /moved leads there, /never does not answer, anything else is 404."""
    silent = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readline()).split()[1]
        if path == b"/never":
            await silent.wait()
        elif path == b"/ok":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\nconnection: close\r\n\r\n12345678")
        elif path == b"/moved":
            writer.write(b"HTTP/1.1 302 Found\r\nlocation: /ok\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        silent.set()


async def test_a_file(images: Images, tmp_path: Path) -> None:
    path = tmp_path / "with space.wasm"
    path.write_bytes(b"12345678")

    assert await images.fetch(path.as_uri(), deadline=soon()) == b"12345678"
    assert await images.fetch(str(path), deadline=soon()) == b"12345678"


async def test_a_url_and_where_it_leads(images: Images, server: str) -> None:
    assert await images.fetch(f"{server}/ok", deadline=soon()) == b"12345678"
    assert await images.fetch(f"{server}/moved", deadline=soon()) == b"12345678"


async def test_what_does_not_exist(images: Images, server: str, tmp_path: Path) -> None:
    for reference in (f"file://{tmp_path}/missing.wasm", f"file://{tmp_path}/x/y", f"{server}/missing"):
        with pytest.raises(NotFound) as error:
            await images.fetch(reference, deadline=soon())
        assert reference in str(error.value)


@pytest.mark.parametrize(
    "reference", ["echo:1", "relative.wasm", "ftp://x/y", "http://[", "", "x/y:1", "oci://", "ghcr.io/Upper/x:1"]
)
async def test_references_that_no_host_can_fetch(images: Images, reference: str) -> None:
    with pytest.raises(TrellisError) as error:
        await images.fetch(reference, deadline=soon())
    assert isinstance(error.value, RequestInvalid)


async def test_a_folder_and_a_forbidden_file(images: Images, tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid):
        await images.fetch(tmp_path.as_uri(), deadline=soon())
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(Denied):
        await images.fetch(loop.as_uri(), deadline=soon())


async def test_a_server_that_is_not_there_or_does_not_answer(images: Images, server: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable):
            await images.fetch(f"http://127.0.0.1:{unused.getsockname()[1]}/", deadline=soon())
    with pytest.raises(DeadlineExceeded):
        await images.fetch(f"{server}/never", deadline=soon(0.2))
