/* A keep-alive HTTP/1.1 load generator: one thread, poll(2), a fixed number of connections, each with one request in
 * flight. Prints one line of JSON.
 *
 *   load PORT PATH CONNECTIONS SECONDS WARMUP_SECONDS     (always 127.0.0.1)
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 65536 }; /* room for a whole answer */

typedef struct {
  char data[BUFFER + 1];
  size_t len;       /* bytes of the answer in data */
  double sent;      /* when its request was sent */
} connection;

static struct sockaddr_in server;
static char request[2048];
static size_t request_len;
static uint64_t answers, bad_status, failures, bytes;
static uint32_t *samples; /* microseconds */
static size_t sample_count, sample_room;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int dial(void) {
  int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&server, sizeof server)) {
    perror("connect");
    exit(1);
  }
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  return fd;
}

static int send_request(int fd, connection *c) {
  c->len = 0;
  c->sent = now();
  return send(fd, request, request_len, MSG_NOSIGNAL) == (ssize_t)request_len;
}

/* The value of a header in a head that ends with an empty line, or NULL. */
static const char *header(const char *head, const char *end, const char *name) {
  size_t len = strlen(name);
  for (const char *line = head; line < end;) {
    if (!strncasecmp(line, name, len)) return line + len;
    line = strstr(line, "\r\n");
    if (!line) break;
    line += 2;
  }
  return NULL;
}

/* The length of the whole answer if it is complete, 0 if more must come, -1 if it makes no sense. */
static long complete(const connection *c) {
  const char *end = strstr(c->data, "\r\n\r\n"), *value;
  if (!end) return c->len == BUFFER ? -1 : 0;
  end += 4;
  size_t head = (size_t)(end - c->data);
  if ((value = header(c->data, end, "content-length:"))) {
    size_t all = head + strtoul(value, NULL, 10);
    return all > BUFFER ? -1 : c->len >= all ? (long)all : 0;
  }
  if (!header(c->data, end, "transfer-encoding:")) return -1;
  for (size_t at = head;;) {
    char *line = strstr(c->data + at, "\r\n");
    if (!line) return c->len == BUFFER ? -1 : 0;
    size_t chunk = strtoul(c->data + at, NULL, 16);
    at = (size_t)(line - c->data) + 2 + chunk + 2;
    if (at > BUFFER) return -1;
    if (c->len < at) return 0;
    if (!chunk) return (long)at;
  }
}

static void record(double seconds) {
  if (sample_count == sample_room) {
    sample_room = sample_room ? sample_room * 2 : 65536;
    samples = realloc(samples, sample_room * sizeof *samples);
    if (!samples) exit(1);
  }
  samples[sample_count++] = (uint32_t)(seconds * 1e6);
}

/* Reads what there is. Answers 1 if the connection can go on, 0 if it must be made anew. */
static int take(int fd, connection *c, int measuring) {
  ssize_t n = recv(fd, c->data + c->len, BUFFER - c->len, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 1;
  if (n <= 0) return 0;
  c->len += (size_t)n;
  c->data[c->len] = 0;
  long whole = complete(c);
  if (whole < 0) return 0;
  if (!whole) return 1;
  if (measuring) {
    answers++;
    bytes += (uint64_t)whole;
    record(now() - c->sent);
    if (strncmp(c->data + 8, " 200", 4)) bad_status++;
  }
  return send_request(fd, c);
}

static int by_size(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

static double quantile(double share) {
  return sample_count ? samples[(size_t)((double)(sample_count - 1) * share)] / 1000.0 : 0;
}

int main(int argc, char **argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: load PORT PATH CONNECTIONS SECONDS WARMUP_SECONDS\n");
    return 2;
  }
  int count = atoi(argv[3]);
  double seconds = atof(argv[4]), warmup = atof(argv[5]);
  server.sin_family = AF_INET;
  server.sin_port = htons((uint16_t)atoi(argv[1]));
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  request_len = (size_t)snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nhost: 127.0.0.1:%s\r\n\r\n", argv[2], argv[1]);
  connection *all = calloc((size_t)count, sizeof *all);
  struct pollfd *fds = calloc((size_t)count, sizeof *fds);
  if (!all || !fds) return 1;
  for (int i = 0; i < count; i++) {
    fds[i] = (struct pollfd){dial(), POLLIN, 0};
    send_request(fds[i].fd, &all[i]);
  }
  double begin = now() + warmup, end = begin + seconds, t;
  while ((t = now()) < end) {
    if (poll(fds, (nfds_t)count, 100) < 0 && errno != EINTR) return 1;
    for (int i = 0; i < count; i++) {
      if (!fds[i].revents) continue;
      if (take(fds[i].fd, &all[i], t >= begin)) continue;
      failures += t >= begin;
      close(fds[i].fd);
      fds[i].fd = dial();
      send_request(fds[i].fd, &all[i]);
    }
  }
  qsort(samples, sample_count, sizeof *samples, by_size);
  printf("{\"seconds\": %.3f, \"answers\": %llu, \"bad_status\": %llu, \"failures\": %llu, \"bytes\": %llu, "
         "\"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}\n",
         seconds, (unsigned long long)answers, (unsigned long long)bad_status, (unsigned long long)failures,
         (unsigned long long)bytes, quantile(0.5), quantile(0.99), quantile(1));
  return 0;
}
