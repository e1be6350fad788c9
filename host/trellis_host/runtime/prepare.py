"""Images that this host may have to run later, fetched and compiled beforehand.

The laws of this file: one image at a time, and none while the host launches what it has to run now; the queue is
bounded, what does not fit is refused; a failure is logged and changes nothing, since the launch itself will say it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from trellis_host.runtime.engines import EngineLike
from trellis_host.runtime.images import Images
from trellis_lattice.control.host import MAX_PREPARED
from trellis_lattice.errors import Overloaded, TrellisError

__all__ = ["Preparer"]

_log = logging.getLogger("trellis.host")

MAX_QUEUED = 256
FETCH_TIMEOUT = 120.0
"""Seconds to fetch an image."""
_LOOK = 0.1
"""Seconds until it is looked again whether the host has launched what it has to."""


class Preparer:
    """Works through what is asked for, as long as `run` runs. `launching` says whether a launch is under way."""

    def __init__(
        self, engine: EngineLike, images: Images, launching: Callable[[], bool], changed: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._images = images
        self._launching = launching
        self._changed = changed
        self._queued: dict[str, None] = {}
        self._done: dict[str, None] = {}
        self._more = asyncio.Event()

    @property
    def prepared(self) -> tuple[str, ...]:
        """References of the images that are ready, the latest `MAX_PREPARED`."""
        return tuple(self._done)

    def ask(self, image: str) -> None:
        """Takes it up, unless it is known already. Raises `Overloaded` if too many wait."""
        if image in self._done or image in self._queued:
            return
        if len(self._queued) >= MAX_QUEUED:
            raise Overloaded(f"{MAX_QUEUED} images wait to be prepared on this host already.", retry_after=5.0)
        self._queued[image] = None
        self._more.set()

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            self._more.clear()
            if not self._queued:
                await self._more.wait()
            elif self._launching():
                await asyncio.sleep(_LOOK)
            else:
                await self._prepare(next(iter(self._queued)))

    async def _prepare(self, image: str) -> None:
        try:
            deadline = asyncio.get_running_loop().time() + FETCH_TIMEOUT
            await self._engine.load(await self._images.fetch(image, deadline=deadline))
        except TrellisError as error:
            _log.warning("Image %s cannot be prepared: %s", image, error)
        else:
            self._done[image] = None
            while len(self._done) > MAX_PREPARED:
                del self._done[next(iter(self._done))]
            self._changed()
        finally:
            self._queued.pop(image, None)
