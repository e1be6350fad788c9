// Takes a text over HTTP, has it analysed, and answers the report as JSON.
//
// `analyse` looks like a function of this program. Where it runs, and in which language, the manifest decides.
import { analyse } from 'trellis:pipeline/words@0.1.0';
import { Fields, OutgoingBody, OutgoingResponse, ResponseOutparam } from 'wasi:http/types@0.2.2';

export const incomingHandler = {
  handle(request, responseOut) {
    try {
      respond(responseOut, 200, analyse(textOf(request)));
    } catch (error) {
      // a WIT result that is an error arrives as an exception with the error in its payload
      if (error.payload?.tag === undefined) throw error;
      respond(responseOut, 400, { problem: error.payload });
    }
  },
};

// The text of a request: ?text=… or the body.
function textOf(request) {
  const [, query = ''] = (request.pathWithQuery() ?? '/').split('?');
  return new URLSearchParams(query).get('text') ?? new TextDecoder().decode(bodyOf(request));
}

function bodyOf(request) {
  const stream = request.consume().stream();
  const bytes = [];
  try {
    for (;;) bytes.push(...stream.blockingRead(16384n));
  } catch (error) {
    if (error.payload?.tag !== 'closed') throw error;
  }
  return new Uint8Array(bytes);
}

function respond(responseOut, status, answer) {
  const text = (string) => new TextEncoder().encode(string);
  const response = new OutgoingResponse(Fields.fromList([['content-type', text('application/json')]]));
  response.setStatusCode(status);
  const body = response.body();
  ResponseOutparam.set(responseOut, { tag: 'ok', val: response });

  const stream = body.write();
  stream.blockingWriteAndFlush(text(`${JSON.stringify(answer)}\n`));
  stream[Symbol.dispose]();
  OutgoingBody.finish(body, undefined);
}
