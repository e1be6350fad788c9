"""Where statuses hang out: the stream `wadm_status` keeps the last ones of each application (lattice-protocol 7.2)."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping

from trellis_lattice.bus.connection import Connection
from trellis_lattice.bus.jetstream import JetStream
from trellis_lattice.bus.streams import open_stream
from trellis_lattice.errors import NotFound, RequestInvalid
from trellis_wadm.api.messages import StatusReport, status_subject
from trellis_wadm.catalog import StoredApplication
from trellis_wadm.planner.result import Plan, StatusType

__all__ = ["StatusBoard", "StatusTeller"]

_STREAM = "wadm_status"
_CONCURRENT = 16


class StatusBoard:
    """Posts and reads statuses of one lattice. Deadlines are absolute, on the event loop's clock."""

    def __init__(self, connection: Connection, lattice: str) -> None:
        self._jetstream = JetStream(connection)
        self._lattice = lattice

    async def open(self, *, deadline: float) -> None:
        """Makes the stream if it is missing."""
        config = {
            "name": _STREAM,
            "subjects": ["wadm.status.*.*"],
            "retention": "limits",
            "storage": "file",
            "discard": "old",
            "max_msgs_per_subject": 10,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": 0,
            "allow_direct": True,
        }
        await open_stream(self._jetstream, config, deadline=deadline)

    async def post(self, name: str, report: StatusReport, *, deadline: float) -> None:
        await self._jetstream.publish(status_subject(self._lattice, name), report.to_json(), deadline=deadline)

    async def read(self, name: str, *, deadline: float) -> StatusReport | None:
        """The last status; None if there never was one, or it cannot be read."""
        subject = status_subject(self._lattice, name)
        try:
            answer = await self._jetstream.call(
                f"STREAM.MSG.GET.{_STREAM}", {"last_by_subj": subject}, deadline=deadline
            )
            return StatusReport.from_json(base64.b64decode(answer["message"].get("data") or ""))
        except NotFound:
            return None
        except (KeyError, TypeError, ValueError, binascii.Error, RequestInvalid):
            return None


class StatusTeller:
    """Posts the statuses of plans, each only when it differs from what was posted last."""

    def __init__(self, board: StatusBoard, epoch: float) -> None:
        """`epoch` added to the times of plans gives seconds since 1970."""
        self._board = board
        self._epoch = epoch
        self._posted: dict[str, StatusReport | None] = {}

    async def open(self, *, deadline: float) -> None:
        await self._board.open(deadline=deadline)

    async def tell(self, plan: Plan, stored: Mapping[str, StoredApplication], *, deadline: float) -> None:
        """Posts what changed. An application that is not deployed is told so once, if it ever had a status."""
        limit = asyncio.Semaphore(_CONCURRENT)

        async def post(name: str) -> None:
            async with limit:
                if name not in self._posted:
                    # Somebody else led before: what they said need not be repeated.
                    self._posted[name] = await self._board.read(name, deadline=deadline)
                known = self._posted[name]
                status = plan.applications.get(name)
                if status is not None:
                    report = StatusReport.of(status, self._epoch).continuing(known)
                elif known is None or known.type is StatusType.UNDEPLOYED:
                    return
                else:
                    report = StatusReport.undeployed()
                if report != known:
                    # If this fails nobody knows what the board says: the next time it is read.
                    del self._posted[name]
                    await self._board.post(name, report, deadline=deadline)
                    self._posted[name] = report

        async with asyncio.TaskGroup() as tasks:
            for name in sorted(self._posted.keys() | stored.keys() | plan.applications.keys()):
                tasks.create_task(post(name), name=f"status of {name}")
        for name in self._posted.keys() - stored.keys() - plan.applications.keys():
            del self._posted[name]
