"""Buckets in JetStream, laid out as NATS's own key-value clients do (stream `KV_<bucket>`, `$KV.<bucket>.<key>`).

The law of this file: a bucket that may be made is made again, empty, when its server has lost its data; whoever
watches it is then told that everything is gone.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable, Mapping
from typing import Any

from trellis_lattice.bus.connection import Connection
from trellis_lattice.bus.jetstream import JetStream
from trellis_lattice.bus.kv import Change, Entry, Watch
from trellis_lattice.bus.kv_shared import join
from trellis_lattice.bus.kv_watch import JetStreamWatch, is_removal, parse_headers
from trellis_lattice.bus.streams import open_stream
from trellis_lattice.errors import Conflict, NotFound, PeerMisbehaved, Unavailable
from trellis_lattice.subjects import kv_stream, kv_subject

__all__ = ["JetStreamBucket", "open_bucket"]

_log = logging.getLogger("trellis.bus")

_NO_STREAM = 10059
_PAUSE = 0.1
"""Seconds between two tries to find who takes a write."""
_SECOND = 1_000_000_000


async def open_bucket(
    connection: Connection,
    name: str,
    *,
    deadline: float,
    create: bool = True,
    direct: bool = False,
    persist: bool = True,
) -> JetStreamBucket:
    """The bucket of that name, made if missing (history 1, no expiry, copies on up to three servers).

    An existing one is used as is, but for its copies (`streams`). `direct` lets any replica answer reads: faster in a
    cluster, but a read may then miss a write just made. `persist`: a write whose answer is missing is sent again until
    its deadline, once only in effect; it costs the server some memory for each write of the last two minutes.
    Raises `NotFound` without `create`.
    """
    jetstream = JetStream(connection)
    info, _ = await _stream(jetstream, name, create, deadline)
    config = info.get("config")
    allowed = isinstance(config, Mapping) and config.get("allow_direct") is True
    return JetStreamBucket(jetstream, name, direct=direct and allowed, create=create, born=_born(info), persist=persist)


async def _stream(jetstream: JetStream, bucket: str, create: bool, deadline: float) -> tuple[dict[str, Any], bool]:
    """What JetStream says of the bucket's stream, and whether it was made just now."""
    try:
        return await open_stream(jetstream, _stream_config(bucket), deadline=deadline, create=create)
    except NotFound:
        raise NotFound(f"There is no bucket {bucket}.", bucket=bucket) from None


def _born(info: Mapping[str, Any]) -> str:
    """When the stream was made: another one of the same name counts its revisions anew."""
    return str(info.get("created", ""))


def _stream_config(bucket: str) -> dict[str, Any]:
    """What NATS's own clients ask for when they make a bucket."""
    return {
        "name": kv_stream(bucket),
        "subjects": [f"$KV.{bucket}.>"],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_msgs_per_subject": 1,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_age": 0,
        "max_msg_size": -1,
        "max_consumers": -1,
        "duplicate_window": 120 * _SECOND,
        "deny_delete": True,
        "deny_purge": False,
        "allow_rollup_hdrs": True,
        "allow_direct": True,
    }


class JetStreamBucket:
    """A `KeyValueBucket` in JetStream, made by `open_bucket`."""

    def __init__(
        self,
        jetstream: JetStream,
        name: str,
        *,
        direct: bool,
        create: bool = False,
        born: str = "",
        persist: bool = False,
    ) -> None:
        self.name = name
        self._jetstream = jetstream
        self._stream = kv_stream(name)
        self._direct = direct
        self._create = create
        self._born = born
        self._persist = persist

    async def get(self, key: str, *, deadline: float) -> Entry | None:
        entry, removed = await self._newest(key, deadline)
        return None if removed else entry

    async def put(self, key: str, value: bytes, *, deadline: float, expected: int | None = None) -> int:
        subject = kv_subject(self.name, key)
        if expected is None:
            return await self._publish(subject, value, None, deadline)
        try:
            return await self._publish(subject, value, _expecting(expected), deadline)
        except Conflict:
            if expected != 0:
                raise self._conflict(key, expected) from None
        # A removed key still has a newest revision: its marker.
        entry, removed = await self._newest(key, deadline)
        if entry is None or not removed:
            raise self._conflict(key, expected)
        try:
            return await self._publish(subject, value, _expecting(entry.revision), deadline)
        except Conflict:
            raise self._conflict(key, expected) from None

    async def delete(self, key: str, *, deadline: float, expected: int | None = None, purge: bool = False) -> None:
        if expected == 0:
            if await self.get(key, deadline=deadline) is not None:
                raise self._conflict(key, expected)
            return
        headers = {"KV-Operation": "PURGE", "Nats-Rollup": "sub"} if purge else {"KV-Operation": "DEL"}
        if expected is not None:
            headers |= _expecting(expected)
        try:
            await self._publish(kv_subject(self.name, key), b"", headers, deadline)
        except Conflict:
            raise self._conflict(key, expected) from None

    async def entries(self, *, deadline: float) -> dict[str, Entry]:
        found: dict[str, Entry] = {}

        def collect(change: Change) -> None:
            if change.value is None:
                found.pop(change.key, None)
            else:
                found[change.key] = Entry(change.key, change.value, change.revision)

        await self._snapshot(collect, deadline, headers_only=False)
        return found

    async def keys(self, *, deadline: float) -> list[str]:
        found: set[str] = set()
        await self._snapshot(
            lambda change: found.discard(change.key) if change.value is None else found.add(change.key),
            deadline,
            headers_only=True,
        )
        return sorted(found)

    async def watch(self, on_change: Callable[[Change], None], *, deadline: float) -> Watch:
        async def start(report: Callable[[Change], None]) -> Watch:
            return await JetStreamWatch.start(
                self._jetstream, self.name, report, deadline=deadline, born=self._born, identify=self._identify
            )

        return await join(self._jetstream.connection, self.name, on_change, start)

    async def _snapshot(self, collect: Callable[[Change], None], deadline: float, *, headers_only: bool) -> None:
        watch = await JetStreamWatch.start(
            self._jetstream, self.name, collect, deadline=deadline, headers_only=headers_only
        )
        try:
            await watch.synced(deadline=deadline)
        finally:
            await watch.aclose()

    async def _identify(self, deadline: float) -> str:
        """When the bucket's stream was made; it is made again if it may be and is gone."""
        info, made = await _stream(self._jetstream, self.name, self._create, deadline)
        if made:
            _log.warning("The bucket %s was gone from the NATS server; it was made again, empty", self.name)
        return _born(info)

    async def _publish(self, subject: str, value: bytes, headers: Mapping[str, str] | None, deadline: float) -> int:
        """Stores a message, also while the stream has no leader for some seconds, and if it has to be made again."""
        loop = asyncio.get_running_loop()
        gone = None
        while True:
            try:
                return await self._jetstream.publish(subject, value, headers, deadline=deadline, once=self._persist)
            except Unavailable as error:
                if error.fields.get("reason") != "no-jetstream" or not self._create:
                    raise
                if gone is not None and (not self._persist or loop.time() + _PAUSE >= deadline):
                    raise
            # Nobody took it, so it was not stored: the stream has no leader, or is gone.
            if gone is not None:
                await asyncio.sleep(_PAUSE)
            gone = await self._identify(deadline)

    async def _newest(self, key: str, deadline: float) -> tuple[Entry | None, bool]:
        """The newest message for the key, and whether it says that the key was removed."""
        subject = kv_subject(self.name, key)
        if self._direct:
            message = await self._jetstream.direct(f"DIRECT.GET.{self._stream}.{subject}", deadline=deadline)
            headers = message.headers or {}
            if headers.get("Status") == "404":
                return None, True
            sequence = headers.get("Nats-Sequence", "")
            if not sequence.isdigit():
                raise PeerMisbehaved(f"JetStream sent the value of {key} without its revision.")
            return Entry(key, message.data, int(sequence)), is_removal(headers)
        try:
            answer = await self._jetstream.call(
                f"STREAM.MSG.GET.{self._stream}", {"last_by_subj": subject}, deadline=deadline
            )
        except NotFound as error:
            if error.fields.get("err_code") == _NO_STREAM:
                if not self._create:
                    raise
                await self._identify(deadline)
            return None, True
        return _stored(key, answer.get("message"))

    def _conflict(self, key: str, expected: int | None) -> Conflict:
        what = "exists already" if expected == 0 else "was changed meanwhile"
        return Conflict(f"{key} {what} in {self.name}.", key=key, bucket=self.name, expected=expected)


def _expecting(revision: int) -> dict[str, str]:
    return {"Nats-Expected-Last-Subject-Sequence": str(revision)}


def _stored(key: str, message: object) -> tuple[Entry, bool]:
    try:
        assert isinstance(message, Mapping)
        value = base64.b64decode(message.get("data") or "")
        headers = parse_headers(base64.b64decode(message.get("hdrs") or ""))
        return Entry(key, value, int(message["seq"])), is_removal(headers)
    except (AssertionError, KeyError, ValueError, TypeError, binascii.Error) as error:
        raise PeerMisbehaved(f"JetStream sent a stored value of {key} that cannot be read.") from error
