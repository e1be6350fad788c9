"""An HTTP component made of ordinary Python: its path chooses what of the standard library it tries."""

import encodings.idna  # noqa: F401 - the build keeps only what is imported
import os
import random
import socket
import sys
import time
from pathlib import Path

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports.types import Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam


def _tried(action) -> str:
    try:
        return f"done: {action()}"
    except OSError as error:
        return f"{type(error).__name__}"


def _standard_library() -> bytes:
    started = time.monotonic()
    time.sleep(0.01)
    lines = [
        os.environ.get("GREETING", "no greeting"),
        " ".join(sys.argv[1:]) or "no arguments",
        _tried(lambda: Path("/etc/passwd").read_text()),
        _tried(lambda: socket.create_connection(("127.0.0.1", 80))),
        str(time.time() > 1_600_000_000),
        str(time.monotonic() - started >= 0.01),
        str(len({random.random() for _ in range(10)}) + len(os.urandom(6))),
        repr(sys.stdin.read()),
    ]
    return "\n".join(lines).encode()


def _echo(request: IncomingRequest, stream) -> None:
    body = request.consume()
    with body.stream() as incoming:
        while True:
            try:
                data = incoming.blocking_read(4096)
            except Err:
                return
            stream.blocking_write_and_flush(data)


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        path = request.path_with_query()
        if path == "/raise":
            raise ValueError("as asked")
        response = OutgoingResponse(Fields.from_list([("content-type", b"text/plain")]))
        body = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        with body.write() as stream:
            if path == "/echo":
                _echo(request, stream)
            elif path == "/print":
                print("to stdout")
                print("to stderr", file=sys.stderr)
            else:
                stream.blocking_write_and_flush(_standard_library())
        OutgoingBody.finish(body, None)
