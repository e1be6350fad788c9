"""Where a component's bytes come from: `file://` paths and `http(s)://` URLs.

The laws of this file: an image is read whole, up to a size bound, before anything is started; what cannot be
fetched is one `TrellisError` that names the reference and what to do. Registries (OCI) are not spoken yet.
"""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from urllib.parse import unquote, urlsplit

from trellis_lattice.errors import DeadlineExceeded, Denied, NotFound, RequestInvalid, Unavailable

__all__ = ["MAX_IMAGE_BYTES", "fetch_image"]

MAX_IMAGE_BYTES = 256 * 1024 * 1024


async def fetch_image(reference: str, *, deadline: float) -> bytes:
    """The bytes behind `reference`; `deadline` is loop time.

    Raises `NotFound` (no such file or page), `Denied` (not readable), `RequestInvalid` (not a reference this
    host can fetch, or too large), `Unavailable` (the server cannot be reached), `DeadlineExceeded`.
    """
    try:
        parts = urlsplit(reference)
    except ValueError:
        raise _not_a_reference(reference) from None
    try:
        async with asyncio.timeout_at(deadline):
            match parts.scheme:
                case "file":
                    return await asyncio.to_thread(_read_file, reference, Path(unquote(parts.path)))
                case "" if reference.startswith("/"):
                    return await asyncio.to_thread(_read_file, reference, Path(reference))
                case "http" | "https":
                    return await _download(reference)
    except TimeoutError:
        raise DeadlineExceeded(f"Image {reference} was not fetched in time.", image=reference) from None
    raise _not_a_reference(reference)


def _not_a_reference(reference: str) -> RequestInvalid:
    return RequestInvalid(
        f"This host cannot fetch image {reference!r}.",
        remedy="Use an absolute file:///path/to/component.wasm or an http(s):// URL of the .wasm file.",
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
