/* Answers every HTTP request with a greeting. */
#include "wasi.h"

#define GREETING "Hello from C!\n"

HANDLE void handle(int32_t request, int32_t response_out) {
  request_drop(request);
  respond(response_out, 200, GREETING, sizeof GREETING - 1);
}
