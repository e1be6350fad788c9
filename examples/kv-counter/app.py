"""Counts requests in a key-value store, one counter for each path.

GET /      {"key": "default", "count": 1}
GET /cats  {"key": "cats", "count": 1}
"""

import json

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports import atomics, store
from wit_world.imports.types import Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        path, _, _ = (request.path_with_query() or "/").partition("?")
        key = path.strip("/") or "default"
        try:
            with store.open("default") as bucket:
                count = atomics.increment(bucket, key, 1)
        except Err as error:
            respond(response_out, 502, {"error": f"the key-value store failed: {error.value}"})
        else:
            respond(response_out, 200, {"key": key, "count": count})


def respond(response_out: ResponseOutparam, status: int, answer: dict[str, object]) -> None:
    """Send the answer as JSON."""
    response = OutgoingResponse(Fields.from_list([("content-type", b"application/json")]))
    response.set_status_code(status)
    body = response.body()
    ResponseOutparam.set(response_out, Ok(response))
    with body.write() as stream:
        stream.blocking_write_and_flush(json.dumps(answer).encode() + b"\n")
    OutgoingBody.finish(body, None)
