/* The few WASI functions that small C components need, as the canonical ABI spells them.
 *
 * A full project generates such a header with wit-bindgen; written by hand it shows what is really called, and needs
 * no tool. Handles are int32_t. A function that returns more than one number writes it to `ret`: for a
 * result<T, E>, ret[0] of the bytes is 0 for ok, and the payload follows at the alignment of its widest case.
 */
#include <stddef.h>
#include <stdint.h>

#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))

typedef union {
  uint8_t byte[64];
  int32_t word[16];
  uint64_t wide[8];
} answer; /* room for what a function returns through memory */

#define HTTP "wasi:http/types@0.2.2"
#define STREAMS "wasi:io/streams@0.2.2"
#define HANDLE EXPORT("wasi:http/incoming-handler@0.2.2#handle")

IMPORT(HTTP, "[constructor]fields") int32_t fields_new(void);
IMPORT(HTTP, "[method]fields.append")
void fields_append(int32_t self, const char *name, size_t name_len, const char *value, size_t value_len, void *ret);
IMPORT(HTTP, "[constructor]outgoing-response") int32_t response_new(int32_t headers);
IMPORT(HTTP, "[method]outgoing-response.set-status-code") int32_t response_set_status(int32_t self, int32_t status);
IMPORT(HTTP, "[method]outgoing-response.body") void response_body(int32_t self, void *ret);
IMPORT(HTTP, "[resource-drop]outgoing-response") void response_drop(int32_t self);
IMPORT(HTTP, "[method]outgoing-body.write") void body_write(int32_t self, void *ret);
IMPORT(HTTP, "[static]outgoing-body.finish")
void body_finish(int32_t self, int32_t has_trailers, int32_t trailers, void *ret);
IMPORT(HTTP, "[static]response-outparam.set")
void outparam_set(int32_t out, int32_t is_err, int32_t response, int32_t, int64_t, int32_t, int32_t, int32_t, int32_t);
IMPORT(HTTP, "[method]incoming-request.path-with-query") void request_path(int32_t self, void *ret);
IMPORT(HTTP, "[method]incoming-request.consume") void request_consume(int32_t self, void *ret);
IMPORT(HTTP, "[resource-drop]incoming-request") void request_drop(int32_t self);
IMPORT(HTTP, "[method]incoming-body.stream") void incoming_body_stream(int32_t self, void *ret);
IMPORT(HTTP, "[resource-drop]incoming-body") void incoming_body_drop(int32_t self);

IMPORT(STREAMS, "[method]input-stream.blocking-read") void stream_read(int32_t self, uint64_t len, void *ret);
IMPORT(STREAMS, "[resource-drop]input-stream") void input_stream_drop(int32_t self);
IMPORT(STREAMS, "[method]output-stream.blocking-write-and-flush")
void stream_write(int32_t self, const char *data, size_t len, void *ret);
IMPORT(STREAMS, "[resource-drop]output-stream") void stream_drop(int32_t self);

/* Sends the head of a response with a text body and returns the body; write to it, then finish it. */
static int32_t response_begin(int32_t out, int32_t status) {
  answer ret;
  int32_t headers = fields_new();
  fields_append(headers, "content-type", 12, "text/plain", 10, &ret);
  int32_t response = response_new(headers);
  if (status != 200) response_set_status(response, status);
  response_body(response, &ret);
  outparam_set(out, 0, response, 0, 0, 0, 0, 0, 0);
  return ret.word[1];
}

/* A whole response: status and text. */
static void respond(int32_t out, int32_t status, const char *text, size_t len) {
  answer ret;
  int32_t body = response_begin(out, status);
  body_write(body, &ret);
  int32_t stream = ret.word[1];
  stream_write(stream, text, len, &ret);
  stream_drop(stream);
  body_finish(body, 0, 0, &ret);
}
