"""Where statuses hang out: the stream `wadm_status` keeps the last ones of each application (lattice-protocol 7.2)."""

from __future__ import annotations

import base64
import binascii

from trellis_lattice.bus.connection import Connection
from trellis_lattice.bus.jetstream import JetStream
from trellis_lattice.errors import NotFound, RequestInvalid
from trellis_wadm.api.messages import StatusReport, status_subject

__all__ = ["StatusBoard"]

_STREAM = "wadm_status"


class StatusBoard:
    """Posts and reads statuses of one lattice. Deadlines are absolute, on the event loop's clock."""

    def __init__(self, connection: Connection, lattice: str) -> None:
        self._jetstream = JetStream(connection)
        self._lattice = lattice

    async def open(self, *, deadline: float) -> None:
        """Makes the stream if it is missing."""
        try:
            await self._jetstream.call(f"STREAM.INFO.{_STREAM}", deadline=deadline)
        except NotFound:
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
                "num_replicas": 1,
                "allow_direct": True,
            }
            try:
                await self._jetstream.call(f"STREAM.CREATE.{_STREAM}", config, deadline=deadline)
            except RequestInvalid:
                # Somebody made it meanwhile; if not, this says what is wrong.
                await self._jetstream.call(f"STREAM.INFO.{_STREAM}", deadline=deadline)

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
