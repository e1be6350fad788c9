// Answers every HTTP request with a greeting.
import { Fields, OutgoingBody, OutgoingResponse, ResponseOutparam } from 'wasi:http/types@0.2.2';

const text = (string) => new TextEncoder().encode(string);

export const incomingHandler = {
  handle(request, responseOut) {
    const headers = Fields.fromList([['content-type', text('text/plain; charset=utf-8')]]);
    const response = new OutgoingResponse(headers);
    const body = response.body();
    ResponseOutparam.set(responseOut, { tag: 'ok', val: response });

    const stream = body.write();
    stream.blockingWriteAndFlush(text('Hello from JavaScript!\n'));
    stream[Symbol.dispose]();
    OutgoingBody.finish(body, undefined);
  },
};
