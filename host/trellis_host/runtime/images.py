"""Where a component's bytes come from: registries, `file://` paths and `http(s)://` URLs.

The laws of this file: an image is read whole, up to a size bound, before anything is started; what cannot be
fetched is one `TrellisError` that names the reference and what to do.
"""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from urllib.parse import unquote, urlsplit

from trellis_host.runtime.oci.cache import BlobCache
from trellis_host.runtime.oci.client import OciClient
from trellis_host.runtime.oci.reference import looks_like_one, parse_reference
from trellis_host.runtime.registries import Registries
from trellis_host.settings import ImageSettings
from trellis_lattice.errors import DeadlineExceeded, Denied, NotFound, RequestInvalid, Unavailable

__all__ = ["MAX_IMAGE_BYTES", "Images"]

MAX_IMAGE_BYTES = 256 * 1024 * 1024


class Images:
    """What one host fetches. `cache_dir` keeps what registries gave, by digest."""

    def __init__(self, settings: ImageSettings, registries: Registries, cache_dir: Path) -> None:
        self._allow_latest = settings.allow_latest
        self._oci = OciClient(
            registries, BlobCache(cache_dir), insecure=settings.allowed_insecure, max_bytes=MAX_IMAGE_BYTES
        )

    async def fetch(self, reference: str, *, deadline: float) -> bytes:
        """The bytes behind `reference`; `deadline` is loop time.

        Raises `NotFound` (no such file, page or image), `Denied` (not readable, credentials), `RequestInvalid` (not
        a reference this host can fetch, no component, too large), `Unavailable` (the server cannot be reached),
        `PeerMisbehaved` (a registry that gives something else), `DeadlineExceeded`.
        """
        try:
            async with asyncio.timeout_at(deadline):
                return await self._fetch(reference)
        except TimeoutError:
            raise DeadlineExceeded(f"Image {reference} was not fetched in time.", image=reference) from None

    async def _fetch(self, reference: str) -> bytes:
        if looks_like_one(reference):
            return await self._pull(reference)
        try:
            parts = urlsplit(reference)
        except ValueError:
            raise _not_a_reference(reference) from None
        match parts.scheme:
            case "file":
                return await asyncio.to_thread(_read_file, reference, Path(unquote(parts.path)))
            case "" if reference.startswith("/"):
                return await asyncio.to_thread(_read_file, reference, Path(reference))
            case "http" | "https":
                return await _download(reference)
        raise _not_a_reference(reference)

    async def _pull(self, text: str) -> bytes:
        reference = parse_reference(text)
        if reference.version == "latest" and not self._allow_latest:
            raise Denied(
                f"Fetching images tagged 'latest' is prohibited on this host: {text}.",
                remedy="Name a version (registry/repository:version), or start the host with --allow-latest.",
                image=text,
            )
        return await self._oci.fetch(reference)


def _not_a_reference(reference: str) -> RequestInvalid:
    return RequestInvalid(
        f"This host cannot fetch image {reference!r}.",
        remedy="Use registry/repository:tag, an absolute file:///path/to/component.wasm, or an http(s):// URL of the "
        ".wasm file.",
        image=reference,
    )


def _read_file(reference: str, path: Path) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError
        if not stat.S_ISREG(status.st_mode):  # a pipe would keep this thread for ever, a device never ends
            raise RequestInvalid(f"Image {reference} is not a file.", remedy="Name the .wasm file.", image=reference)
        with path.open("rb") as file:
            data = file.read(MAX_IMAGE_BYTES + 1)
        if len(data) > MAX_IMAGE_BYTES:
            raise _too_large(reference)
        return data
    except ValueError:  # what no file system can name
        raise _not_a_reference(reference) from None
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(
            f"Image {reference} does not exist on this host.",
            remedy="Build it, or give the path as this host sees it.",
            image=reference,
        ) from None
    except IsADirectoryError:
        raise RequestInvalid(
            f"Image {reference} is a folder.", remedy="Name the .wasm file.", image=reference
        ) from None
    except OSError as error:
        raise Denied(f"Image {reference} cannot be read: {error.strerror}.", image=reference) from None


async def _download(reference: str) -> bytes:
    import httpx  # imported here: most hosts never download, and the import costs start-up time

    data = bytearray()
    try:
        async with (
            httpx.AsyncClient(follow_redirects=True, timeout=None) as client,  # the deadline bounds it all
            client.stream("GET", reference) as response,
        ):
            if response.status_code != 200:
                raise NotFound(
                    f"Image {reference}: the server answered {response.status_code}.",
                    remedy="Open the URL yourself, and check its spelling and permissions.",
                    image=reference,
                )
            async for chunk in response.aiter_bytes():
                data += chunk
                if len(data) > MAX_IMAGE_BYTES:
                    raise _too_large(reference)
    except (httpx.InvalidURL, ValueError) as error:
        raise RequestInvalid(f"Image {reference!r} is not a URL: {error}.", image=reference) from None
    except httpx.HTTPError as error:
        raise Unavailable(
            f"Image {reference} cannot be downloaded: {error or type(error).__name__}.",
            remedy="Check that the server runs and that this host reaches it.",
            image=reference,
        ) from None
    return bytes(data)


def _too_large(reference: str) -> RequestInvalid:
    return RequestInvalid(
        f"Image {reference} is larger than {MAX_IMAGE_BYTES // 2**20} MiB.",
        remedy="Strip debug information, or build for size.",
        image=reference,
    )
