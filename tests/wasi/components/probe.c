/* An HTTP component whose path chooses what of WASI it tries, for tests of the host's WASI.
 *
 *   /trailers   answers the request's body, then its trailers as its own
 *   /world      arguments, environment, configuration, two log records, clocks, randomness
 *   /denied     what sockets and files answer, as two numbers
 *   /poll       "k: i..." what a poll of a timer far away, a timer of 1 ms and the request's body answers
 *   /error      answers with the error-code HTTP-request-denied
 *   /exit/<n>   calls exit before a response; /bye answers, then exits
 *   /short      says content-length: 10 and writes 5 bytes; /long writes 15
 *   /dropped    writes 5 bytes and drops the body
 *   /trap-after-body  answers "so far", reads the request's body to its end, then traps
 *   /after/<n>  answers "done", then waits n ms, then logs "late"
 *   /stream/<n> answers, writes n chunks of 4096 bytes by check-write, write and subscribe, logging "full" once
 *   /fetch/<n>  GET http://127.0.0.1:<n>/from-component, answers status and body of that
 *   /post/<n>   POST the request's body to http://127.0.0.1:<n>/, answers status and body of that
 */
#include "wasi.h"

IMPORT(HTTP, "[static]incoming-body.finish") int32_t incoming_body_finish(int32_t self);
IMPORT(HTTP, "[method]future-trailers.subscribe") int32_t trailers_subscribe(int32_t self);
IMPORT(HTTP, "[method]future-trailers.get") void trailers_get(int32_t self, void *ret);
IMPORT(HTTP, "[resource-drop]future-trailers") void trailers_drop(int32_t self);
IMPORT(HTTP, "[resource-drop]outgoing-body") void body_drop(int32_t self);
IMPORT(HTTP, "[constructor]outgoing-request") int32_t outgoing_new(int32_t headers);
IMPORT(HTTP, "[method]outgoing-request.set-method") int32_t outgoing_method(int32_t self, int32_t method, const char *, size_t);
IMPORT(HTTP, "[method]outgoing-request.set-scheme") int32_t outgoing_scheme(int32_t self, int32_t has, int32_t, const char *, size_t);
IMPORT(HTTP, "[method]outgoing-request.set-authority") int32_t outgoing_authority(int32_t self, int32_t has, const char *, size_t);
IMPORT(HTTP, "[method]outgoing-request.set-path-with-query") int32_t outgoing_path(int32_t self, int32_t has, const char *, size_t);
IMPORT(HTTP, "[method]outgoing-request.body") void outgoing_body(int32_t self, void *ret);
IMPORT(HTTP, "[method]future-incoming-response.subscribe") int32_t future_subscribe(int32_t self);
IMPORT(HTTP, "[method]future-incoming-response.get") void future_get(int32_t self, void *ret);
IMPORT(HTTP, "[resource-drop]future-incoming-response") void future_drop(int32_t self);
IMPORT(HTTP, "[method]incoming-response.status") int32_t incoming_status(int32_t self);
IMPORT(HTTP, "[method]incoming-response.consume") void incoming_consume(int32_t self, void *ret);
IMPORT(HTTP, "[resource-drop]incoming-response") void incoming_drop(int32_t self);
IMPORT("wasi:http/outgoing-handler@0.2.2", "handle") void fetch(int32_t request, int32_t has_options, int32_t options, void *ret);
IMPORT("wasi:clocks/monotonic-clock@0.2.2", "subscribe-duration") int32_t after(uint64_t nanoseconds);
IMPORT("wasi:clocks/monotonic-clock@0.2.2", "now") uint64_t now(void);
IMPORT("wasi:io/poll@0.2.2", "poll") void poll(const int32_t *pollables, size_t len, void *ret);
IMPORT("wasi:io/poll@0.2.2", "[method]pollable.block") void pollable_block(int32_t self);
IMPORT("wasi:io/poll@0.2.2", "[resource-drop]pollable") void pollable_drop(int32_t self);
IMPORT(STREAMS, "[method]input-stream.subscribe") int32_t input_subscribe(int32_t self);
IMPORT(STREAMS, "[method]output-stream.subscribe") int32_t output_subscribe(int32_t self);
IMPORT(STREAMS, "[method]output-stream.check-write") void check_write(int32_t self, void *ret);
IMPORT(STREAMS, "[method]output-stream.write") void write_now(int32_t self, const char *data, size_t len, void *ret);
IMPORT("wasi:cli/environment@0.2.2", "get-environment") void get_environment(void *ret);
IMPORT("wasi:cli/environment@0.2.2", "get-arguments") void get_arguments(void *ret);
IMPORT("wasi:cli/exit@0.2.2", "exit") void wasi_exit(int32_t is_err);
IMPORT("wasi:random/random@0.2.2", "get-random-u64") uint64_t random_u64(void);
IMPORT("wasi:random/random@0.2.2", "get-random-bytes") void random_bytes(uint64_t len, void *ret);
IMPORT("wasi:config/store@0.2.0-rc.1", "get") void config_get(const char *key, size_t len, void *ret);
IMPORT("wasi:logging/logging@0.1.0-draft", "log")
void log_record(int32_t level, const char *context, size_t context_len, const char *message, size_t message_len);
IMPORT("wasi:sockets/tcp-create-socket@0.2.2", "create-tcp-socket") void tcp_new(int32_t family, void *ret);
IMPORT("wasi:filesystem/preopens@0.2.2", "get-directories") void get_directories(void *ret);
IMPORT("env", "reset") void heap_reset(void);

enum { CHUNK = 4096 };
static char text[CHUNK];
static size_t used;

static void put(const char *data, size_t len) {
  for (size_t i = 0; i < len && used < sizeof text; i++) text[used++] = data[i];
}

static size_t length(const char *word) {
  size_t n = 0;
  while (word[n]) n++;
  return n;
}

static void say(const char *word) { put(word, length(word)); }

static size_t digits(uint64_t n, char *out) {
  char reversed[20];
  size_t count = 0;
  do reversed[count++] = (char)('0' + n % 10); while (n /= 10);
  for (size_t i = 0; i < count; i++) out[i] = reversed[count - 1 - i];
  return count;
}

static void say_number(uint64_t n) {
  char out[20];
  put(out, digits(n, out));
}

static int starts(const char *path, size_t len, const char *word) {
  size_t n = length(word);
  if (n > len) return 0;
  for (size_t i = 0; i < n; i++)
    if (path[i] != word[i]) return 0;
  return 1;
}

static uint64_t number(const char *path, size_t len) {
  uint64_t n = 0;
  size_t i = 1;
  while (i < len && path[i] != '/') i++;
  for (i++; i < len && path[i] >= '0' && path[i] <= '9'; i++) n = n * 10 + (uint64_t)(path[i] - '0');
  return n;
}

static void wait(int32_t pollable) {
  pollable_block(pollable);
  pollable_drop(pollable);
}

static void log_line(const char *message) { log_record(2, "probe", 5, message, length(message)); }

/* Copies a body to a stream; drops the input stream. */
static void copy(int32_t from, int32_t to) {
  answer ret;
  for (;;) {
    stream_read(from, CHUNK, &ret);
    if (ret.byte[0]) break;
    stream_write(to, (const char *)ret.word[1], (size_t)ret.word[2], &ret);
    if (ret.byte[0]) break;
    heap_reset();
  }
  input_stream_drop(from);
}

static void trailers(int32_t request, int32_t out) {
  answer ret;
  request_consume(request, &ret);
  int32_t incoming = ret.word[1];
  incoming_body_stream(incoming, &ret);
  int32_t from = ret.word[1];
  int32_t body = response_begin(out, 200);
  body_write(body, &ret);
  int32_t to = ret.word[1];
  copy(from, to);
  stream_drop(to);
  int32_t future = incoming_body_finish(incoming);
  wait(trailers_subscribe(future));
  trailers_get(future, &ret);
  int32_t some = ret.byte[0] && !ret.byte[8] && !ret.byte[16] && ret.byte[24], own = ret.word[7];
  trailers_drop(future);
  body_finish(body, some, own, &ret);
}

static void say_list(int32_t *items, size_t parts) {
  for (size_t i = 0; i < parts; i++) {
    put((const char *)items[2 * i], (size_t)items[2 * i + 1]);
    say(" ");
  }
}

static void world(int32_t out) {
  answer ret;
  get_arguments(&ret);
  say_list((int32_t *)ret.word[0], (size_t)ret.word[1]);
  get_environment(&ret);
  say_list((int32_t *)ret.word[0], 2 * (size_t)ret.word[1]);
  config_get("greeting", 8, &ret);
  say(ret.byte[4] ? "some " : "none ");
  if (ret.byte[4]) put((const char *)ret.word[2], (size_t)ret.word[3]);
  config_get("missing", 7, &ret);
  say(ret.byte[4] ? " some " : " none ");
  log_line("first");
  log_record(5, "alarm", 5, "second", 6);
  say_number(now());
  say(" ");
  say_number(random_u64());
  say(" ");
  random_bytes(3, &ret);
  put((const char *)ret.word[0], (size_t)ret.word[1]);
  respond(out, 200, text, used);
}

static void denied(int32_t out) {
  answer ret;
  tcp_new(0, &ret);
  say_number(ret.byte[0]);
  say(" ");
  say_number(ret.byte[4]);
  get_directories(&ret);
  say(" ");
  say_number((uint64_t)ret.word[1]);
  respond(out, 200, text, used);
}

static void poll_several(int32_t request, int32_t out) {
  answer ret;
  request_consume(request, &ret);
  int32_t incoming = ret.word[1];
  incoming_body_stream(incoming, &ret);
  int32_t from = ret.word[1];
  int32_t pollables[3] = {after(3600000000000), after(1000000), input_subscribe(from)};
  for (int round = 0; round < 2; round++) {
    poll(pollables, 3, &ret);
    const int32_t *ready = (const int32_t *)ret.word[0];
    for (int32_t i = 0; i < ret.word[1]; i++) say_number((uint64_t)ready[i]);
    say(round ? "" : " ");
    if (!round) wait(after(20000000));
  }
  for (int i = 0; i < 3; i++) pollable_drop(pollables[i]);
  input_stream_drop(from);
  incoming_body_drop(incoming);
  respond(out, 200, text, used);
}

static void wrong_length(int32_t out, const char *data) {
  answer ret;
  int32_t headers = fields_new();
  fields_append(headers, "content-length", 14, "10", 2, &ret);
  int32_t response = response_new(headers);
  response_body(response, &ret);
  int32_t body = ret.word[1];
  outparam_set(out, 0, response, 0, 0, 0, 0, 0, 0);
  body_write(body, &ret);
  int32_t stream = ret.word[1];
  stream_write(stream, data, length(data), &ret);
  log_line(ret.byte[0] ? "refused" : "taken");
  stream_drop(stream);
  body_finish(body, 0, 0, &ret);
  log_line(ret.byte[0] ? "wrong" : "right");
}

static void dropped(int32_t out) {
  answer ret;
  int32_t body = response_begin(out, 200);
  body_write(body, &ret);
  int32_t stream = ret.word[1];
  stream_write(stream, "12345", 5, &ret);
  stream_drop(stream);
  body_drop(body);
}

static void trap_after_body(int32_t request, int32_t out) {
  answer ret;
  request_consume(request, &ret);
  incoming_body_stream(ret.word[1], &ret);
  int32_t from = ret.word[1];
  body_write(response_begin(out, 200), &ret);
  int32_t to = ret.word[1];
  stream_write(to, "so far", 6, &ret);
  copy(from, to);
  __builtin_trap();
}

static void stream_chunks(int32_t out, uint64_t chunks) {
  answer ret;
  int32_t body = response_begin(out, 200), told = 0;
  body_write(body, &ret);
  int32_t stream = ret.word[1];
  for (size_t i = 0; i < CHUNK; i++) text[i] = 'a';
  for (uint64_t left = chunks * CHUNK; left;) {
    check_write(stream, &ret);
    if (ret.byte[0]) break;
    uint64_t room = ret.wide[1];
    if (!room) {
      if (!told++) log_line("full");
      wait(output_subscribe(stream));
      continue;
    }
    if (room > CHUNK) room = CHUNK;
    if (room > left) room = left;
    write_now(stream, text, (size_t)room, &ret);
    left -= room;
  }
  stream_drop(stream);
  body_finish(body, 0, 0, &ret);
}

static void fail(int32_t out, int32_t code) {
  say("error-code ");
  say_number((uint64_t)code);
  respond(out, 200, text, used);
}

/* Sends a request to the port; answers what came back. `incoming`: a body to send, or -1. */
static void fetch_from(int32_t out, uint64_t port, int32_t incoming) {
  answer ret;
  char authority[40] = "127.0.0.1:";
  size_t len = 10 + digits(port, authority + 10);
  int32_t request = outgoing_new(fields_new()), body = -1;
  outgoing_scheme(request, 1, 0, 0, 0);
  outgoing_authority(request, 1, authority, len);
  outgoing_path(request, 1, "/from-component", 15);
  if (incoming >= 0) {
    outgoing_method(request, 2, 0, 0);
    outgoing_body(request, &ret);
    body = ret.word[1];
  }
  fetch(request, 0, 0, &ret);
  if (ret.byte[0]) {
    if (body >= 0) body_drop(body);
    fail(out, ret.byte[8]);
    return;
  }
  int32_t future = ret.word[2];
  if (body >= 0) {
    incoming_body_stream(incoming, &ret);
    int32_t from = ret.word[1];
    body_write(body, &ret);
    int32_t to = ret.word[1];
    copy(from, to);
    stream_drop(to);
    body_finish(body, 0, 0, &ret);
  }
  wait(future_subscribe(future));
  future_get(future, &ret);
  int32_t failed = ret.byte[16], response = ret.word[6], code = ret.byte[24];
  future_drop(future);
  if (failed) {
    fail(out, code);
    return;
  }
  say_number((uint64_t)incoming_status(response));
  say(" ");
  incoming_consume(response, &ret);
  int32_t answered = ret.word[1];
  incoming_body_stream(answered, &ret);
  int32_t from = ret.word[1];
  int32_t own = response_begin(out, 200);
  body_write(own, &ret);
  int32_t to = ret.word[1];
  stream_write(to, text, used, &ret);
  copy(from, to);
  stream_drop(to);
  incoming_body_drop(answered);
  incoming_drop(response);
  body_finish(own, 0, 0, &ret);
}

static void choose(const char *path, size_t len, int32_t request, int32_t out) {
  uint64_t n = number(path, len);
  if (starts(path, len, "/trailers")) trailers(request, out);
  else if (starts(path, len, "/world")) world(out);
  else if (starts(path, len, "/denied")) denied(out);
  else if (starts(path, len, "/poll")) poll_several(request, out);
  else if (starts(path, len, "/error")) outparam_set(out, 1, 15, 0, 0, 0, 0, 0, 0);
  else if (starts(path, len, "/exit/")) wasi_exit(n != 0);
  else if (starts(path, len, "/bye")) respond(out, 200, "bye", 3), wasi_exit(0);
  else if (starts(path, len, "/short")) wrong_length(out, "12345");
  else if (starts(path, len, "/long")) wrong_length(out, "123456789012345");
  else if (starts(path, len, "/dropped")) dropped(out);
  else if (starts(path, len, "/trap-after-body")) trap_after_body(request, out);
  else if (starts(path, len, "/after/")) respond(out, 200, "done", 4), wait(after(n * 1000000)), log_line("late");
  else if (starts(path, len, "/stream/")) stream_chunks(out, n);
  else if (starts(path, len, "/fetch/")) fetch_from(out, n, -1);
  else if (starts(path, len, "/post/")) {
    answer ret;
    request_consume(request, &ret);
    int32_t incoming = ret.word[1];
    fetch_from(out, n, incoming);
    incoming_body_drop(incoming);
  }
}

HANDLE void handle(int32_t request, int32_t out) {
  answer ret;
  used = 0;
  request_path(request, &ret);
  choose((const char *)ret.word[1], (size_t)ret.word[2], request, out);
  request_drop(request);
}
