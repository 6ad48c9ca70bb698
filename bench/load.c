// The load generator: thousands of WebSocket clients in one thread. It is C because in Python it would be the
// bottleneck: reading the fan-out to 500 took 8.2 µs of a delivery with picows on uvloop, where the service spent 5.5 µs
// and this program 3.0 µs; in bursts 1.7 µs, 0.7 µs and 0.4 µs.
//
//   load CLIENTS      CLIENTS is a file with a line for each client:
//                     port TAB path TAB deliveries of one of its messages TAB frame to send
//                     In the frame "@@@@@@@@" becomes the message's number, by which its
//                     deliveries are recognised: it must stand between two "#", and no "#" before it.
//
// It obeys lines on its standard input, answers each with one line of JSON, and ends with its input:
//
//   connect INFLIGHT FRAMES           open all connections, so many handshakes at a time; a client is there when it has
//                                     got its 101 and so many frames. Who is answered with 503 comes back as told by its
//                                     Retry-After, and a part of a second later; each such answer counts as "returned"
//   send SENDERS WINDOW MESSAGES DONE the first SENDERS clients send MESSAGES in all, each keeps WINDOW of them under way;
//                                     DONE is "all" (everybody has it) or "ack" (its sender was told so)
//   pace SENDERS RATE MESSAGES        the same at RATE a second, taking turns, whatever is under way
//
// Latency is from the moment of sending to DONE; in "pace" from the moment at which it was due, so that a server (or a
// generator) that is late cannot hide it. All frames are masked with zeros: that is a valid mask (RFC 6455 section 5.3),
// the server's work is the same, and there is no one on the way to protect.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define DIGITS 8
#define STALLED_NS 10000000000ull // nothing came for so long: give up and report what is missing
#define READ_BYTES (256 * 1024)

enum state { NEW, SHAKING, UPGRADED, GREETED, AWAY, GONE };
enum done { ALL, ACK };

typedef struct Client {
  int fd, port;
  enum state state;
  char *path, *text;
  size_t text_bytes, mark; // where the number stands in the text
  uint32_t deliveries;
  uint32_t frames;     // that have come
  uint32_t under_way;  // messages of its own
  uint32_t oldest;     // its oldest message that is not acked: answers come in order
  unsigned char *rest; // an incomplete frame
  size_t rest_bytes;
  unsigned char *out; // what the socket has not taken
  size_t out_bytes;
  uint64_t back_ns; // when it tries again
} Client;

typedef struct Message {
  uint64_t began_ns;
  uint32_t latency_us, left, sender, next; // next: of the same sender
} Message;

static int poller, timer;
static Client *clients;
static uint32_t count, there, coming, gone, refused; // coming: neither there, away nor gone yet
static uint32_t away, returned;
static uint32_t frames_wanted;
static Message *messages;
static uint32_t total, sent, finished, base; // base: the number of the first message of this command
static uint64_t deliveries, acks, errors, bytes;
static char first_error[256];
static enum done done;
static uint32_t senders, window;
static uint64_t began_ns, ended_ns, now_ns, progress_ns;
static double rate; // 0: as fast as the window allows

static void die(const char *what) {
  perror(what);
  exit(1);
}

static uint64_t clock_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static double cpu_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return now.tv_sec + now.tv_nsec / 1e9;
}

// -- writing --------------------------------------------------------------------------------------------------------

static void watch(Client *client, int how, uint32_t events) {
  struct epoll_event event = {.events = events, .data.ptr = client};
  if (epoll_ctl(poller, how, client->fd, &event)) die("epoll_ctl");
}

static void flush(Client *client) {
  size_t at = 0;
  while (at < client->out_bytes) {
    ssize_t taken = send(client->fd, client->out + at, client->out_bytes - at, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (taken < 0) break;
    at += taken;
  }
  client->out_bytes -= at;
  if (client->out_bytes) {
    memmove(client->out, client->out + at, client->out_bytes);
    return;
  }
  free(client->out);
  client->out = NULL;
  watch(client, EPOLL_CTL_MOD, EPOLLIN);
}

static void put(Client *client, const void *data, size_t size) {
  ssize_t taken = client->out_bytes ? 0 : send(client->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (taken < 0) {
    if (errno != EAGAIN && errno != ENOTCONN) return; // it is gone, which its next event will tell
    taken = 0;
  }
  if ((size_t)taken == size) return;
  size -= taken;
  client->out = realloc(client->out, client->out_bytes + size);
  if (!client->out) die("realloc");
  memcpy(client->out + client->out_bytes, (const char *)data + taken, size);
  if (!client->out_bytes) watch(client, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
  client->out_bytes += size;
}

static void put_frame(Client *client, int opcode, const void *payload, size_t size) {
  static unsigned char frame[65536 + 8];
  size_t header = 2;
  frame[0] = 0x80 | opcode;
  if (size < 126) {
    frame[1] = 0x80 | size;
  } else {
    frame[1] = 0x80 | 126;
    frame[2] = size >> 8;
    frame[3] = size;
    header = 4;
  }
  memset(frame + header, 0, 4);
  memcpy(frame + header + 4, payload, size);
  put(client, frame, header + 4 + size);
}

static void send_message(uint32_t sender, uint64_t due_ns) {
  Client *client = &clients[sender];
  Message *message = &messages[sent];
  *message = (Message){.began_ns = due_ns, .left = client->deliveries, .sender = sender, .next = UINT32_MAX};
  char number[DIGITS + 1];
  snprintf(number, sizeof number, "%0*u", DIGITS, base + sent);
  memcpy(client->text + client->mark, number, DIGITS);
  if (client->under_way++ == 0) {
    client->oldest = sent;
  } else if (done == ACK) {
    uint32_t last = client->oldest;
    while (messages[last].next != UINT32_MAX) last = messages[last].next;
    messages[last].next = sent;
  }
  sent++;
  put_frame(client, 1, client->text, client->text_bytes);
}

static void fill_window(uint32_t sender) {
  while (sent < total && clients[sender].under_way < window) send_message(sender, clock_ns());
}

// -- reading --------------------------------------------------------------------------------------------------------

static void finish(Message *message) {
  message->latency_us = (now_ns - message->began_ns) / 1000;
  finished++;
  Client *client = &clients[message->sender];
  client->under_way--;
  client->oldest = message->next;
  if (rate == 0) fill_window(message->sender);
}

static void delivered(uint32_t number) {
  if (number < base || number - base >= sent) return; // of an earlier command
  Message *message = &messages[number - base];
  deliveries++;
  ended_ns = now_ns;
  if (message->left && --message->left == 0 && done == ALL) finish(message);
}

static void arrive(Client *client) {
  if (client->state != UPGRADED || client->frames < frames_wanted) return;
  client->state = GREETED;
  coming--;
  there++;
}

static void on_text(Client *client, const char *text, size_t size) {
  client->frames++;
  arrive(client);
  const char *at = memchr(text, '#', size);
  if (at && at + DIGITS + 1 < text + size && at[DIGITS + 1] == '#') {
    uint32_t number = 0;
    for (int digit = 1; digit <= DIGITS; digit++) number = number * 10 + (at[digit] - '0');
    delivered(number);
  } else if (size > 14 && !memcmp(text, "{\"type\":\"ack\"", 13)) {
    acks++;
    if (done == ACK && total && client->under_way) finish(&messages[client->oldest]);
  } else if (size > 16 && !memcmp(text, "{\"type\":\"error\"", 15)) {
    if (!errors++) snprintf(first_error, sizeof first_error, "%.*s", (int)size, text);
  }
}

static void lose(Client *client, int was_refused) {
  if (client->state == GREETED) there--;
  else coming--;
  client->state = GONE;
  gone++;
  refused += was_refused;
  close(client->fd);
}

static void send_away(Client *client, unsigned seconds) {
  client->state = AWAY;
  client->back_ns = clock_ns() + seconds * 1000000000ull + rand() % 1000 * 1000000ull;
  coming--;
  away++;
  returned++;
  close(client->fd);
}

static const unsigned char *shaken(Client *client, const unsigned char *data, size_t size) {
  const unsigned char *end = memmem(data, size, "\r\n\r\n", 4);
  if (!end) return NULL;
  if (!memcmp(data, "HTTP/1.1 503", 12)) {
    const char *later = memmem(data, end - data, "retry-after: ", 13);
    if (later) {
      send_away(client, atoi(later + 13));
      return NULL;
    }
  }
  if (memcmp(data, "HTTP/1.1 101", 12)) {
    if (!refused) snprintf(first_error, sizeof first_error, "%.*s", (int)strcspn((char *)data, "\r"), data);
    lose(client, 1);
    return NULL;
  }
  client->state = UPGRADED;
  arrive(client);
  return end + 4;
}

// How many bytes were whole frames.
static size_t take_frames(Client *client, unsigned char *data, size_t size) {
  size_t at = 0;
  while (size - at >= 2 && client->state != GONE) {
    unsigned char *frame = data + at;
    uint64_t length = frame[1] & 0x7f;
    size_t header = 2;
    if (length >= 126) {
      size_t width = length == 126 ? 2 : 8;
      if (size - at < 2 + width) break;
      length = 0;
      for (size_t byte = 0; byte < width; byte++) length = length << 8 | frame[2 + byte];
      header += width;
    }
    if (size - at < header + length) break;
    int opcode = frame[0] & 0x0f;
    if (opcode == 1) on_text(client, (char *)frame + header, length);
    if (opcode == 9) put_frame(client, 10, frame + header, length);
    if (opcode == 8) lose(client, 0);
    at += header + length;
  }
  return at;
}

static void take(Client *client) {
  static unsigned char buffer[READ_BYTES];
  size_t kept = client->rest_bytes;
  if (kept) memcpy(buffer, client->rest, kept);
  ssize_t size = recv(client->fd, buffer + kept, sizeof buffer - kept - 1, MSG_DONTWAIT);
  if (size < 0 && errno == EAGAIN) return;
  if (size <= 0) {
    lose(client, client->state != GREETED);
    return;
  }
  bytes += size;
  now_ns = progress_ns = clock_ns();
  size_t have = kept + size, at = 0;
  if (client->state == SHAKING) {
    buffer[have] = 0;
    const unsigned char *begin = shaken(client, buffer, have);
    if (client->state >= AWAY) return;
    at = begin ? (size_t)(begin - buffer) : 0;
  }
  if (client->state != SHAKING) at += take_frames(client, buffer + at, have - at);
  if (client->state == GONE) return;
  client->rest_bytes = have - at;
  if (client->rest_bytes) {
    client->rest = realloc(client->rest, client->rest_bytes);
    if (!client->rest) die("realloc");
    memcpy(client->rest, buffer + at, client->rest_bytes);
  } else if (client->rest) {
    free(client->rest);
    client->rest = NULL;
  }
}

// -- the loop -------------------------------------------------------------------------------------------------------

static void open_client(Client *client) {
  int one = 1;
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(client->port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (client->fd < 0) die("socket");
  setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (connect(client->fd, (void *)&to, sizeof to) && errno != EINPROGRESS) die("connect");
  client->state = SHAKING;
  coming++;
  watch(client, EPOLL_CTL_ADD, EPOLLIN);
  char request[4096];
  int size = snprintf(request, sizeof request,
                      "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                      client->path, client->port);
  put(client, request, size);
}

static void send_what_is_due(void) {
  if (rate == 0) return;
  uint64_t now = clock_ns();
  while (sent < total) {
    uint64_t due = began_ns + (uint64_t)(sent / rate * 1e9);
    if (due > now) break;
    send_message(sent % senders, due);
  }
  progress_ns = sent < total ? now : progress_ns;
}

// One turn. Whether a command waits on standard input.
static int turn(int timeout_ms) {
  struct epoll_event events[512];
  int ready = epoll_wait(poller, events, 512, timeout_ms), command = 0;
  if (ready < 0 && errno != EINTR) die("epoll_wait");
  for (int at = 0; at < ready; at++) {
    if (events[at].data.ptr == &poller) {
      command = 1;
    } else if (events[at].data.ptr == &timer) {
      uint64_t ticks;
      if (read(timer, &ticks, sizeof ticks) < 0 && errno != EAGAIN) die("read");
    } else {
      Client *client = events[at].data.ptr;
      if (client->state >= AWAY) continue;
      if (events[at].events & EPOLLOUT && client->out_bytes) flush(client);
      if (events[at].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) take(client);
    }
  }
  return command;
}

static void tick_every(uint64_t ns) {
  struct itimerspec every = {{ns / 1000000000, ns % 1000000000}, {ns / 1000000000, ns % 1000000000}};
  timerfd_settime(timer, 0, &every, NULL);
}

// -- the commands ---------------------------------------------------------------------------------------------------

static void connect_all(uint32_t in_flight, uint32_t frames) {
  frames_wanted = frames;
  double cpu = cpu_s();
  began_ns = progress_ns = clock_ns();
  for (uint32_t at = 0; at < count || coming || away;) {
    while (at < count && coming < in_flight) open_client(&clients[at++]);
    turn(away ? 10 : 100);
    uint64_t now = clock_ns();
    for (uint32_t one = 0; away && one < count && coming < in_flight; one++)
      if (clients[one].state == AWAY && clients[one].back_ns <= now) {
        away--;
        progress_ns = now;
        open_client(&clients[one]);
      }
    if (!away && now - progress_ns > STALLED_NS) break;
  }
  printf("{\"connected\":%u,\"refused\":%u,\"returned\":%u,\"seconds\":%.6f,\"cpu_s\":%.6f,\"error\":\"%s\"}\n",
         there, refused, returned, (clock_ns() - began_ns) / 1e9, cpu_s() - cpu, refused ? first_error : "");
}

static int by_latency(const void *one, const void *other) {
  uint32_t a = ((const Message *)one)->latency_us, b = ((const Message *)other)->latency_us;
  return (a > b) - (a < b);
}

static void report(double cpu) {
  uint64_t expected = 0;
  for (uint32_t at = 0; at < sent; at++) expected += clients[messages[at].sender].deliveries;
  for (uint32_t at = 0; at < sent; at++) // what was not finished took at least this long
    if (done == ALL ? messages[at].left : !messages[at].latency_us)
      messages[at].latency_us = (clock_ns() - messages[at].began_ns) / 1000;
  qsort(messages, sent, sizeof *messages, by_latency);
#define QUANTILE(q) (sent ? messages[(uint32_t)((sent - 1) * q)].latency_us : 0)
  printf("{\"messages\":%u,\"finished\":%u,\"deliveries\":%lu,\"expected\":%lu,\"acks\":%lu,\"errors\":%lu,\"gone\":%u,"
         "\"bytes\":%lu,\"seconds\":%.6f,\"cpu_s\":%.6f,\"p50_us\":%u,\"p90_us\":%u,\"p99_us\":%u,\"max_us\":%u}\n",
         sent, finished, (unsigned long)deliveries, (unsigned long)expected, (unsigned long)acks, (unsigned long)errors,
         gone, (unsigned long)bytes, (ended_ns - began_ns) / 1e9, cpu_s() - cpu, QUANTILE(0.5), QUANTILE(0.9),
         QUANTILE(0.99), QUANTILE(1));
  if (errors) fprintf(stderr, "load: the first of %lu errors: %s\n", (unsigned long)errors, first_error);
}

static void run_messages(uint32_t how_many) {
  base += total;
  total = how_many;
  sent = finished = 0;
  deliveries = acks = errors = bytes = 0;
  messages = realloc(messages, total * sizeof *messages);
  if (!messages) die("realloc");
  for (uint32_t at = 0; at < count; at++) clients[at].under_way = 0;
  double cpu = cpu_s();
  began_ns = ended_ns = progress_ns = clock_ns();
  if (rate > 0) tick_every(rate > 5000 ? 200000 : 1000000000 / rate);
  for (uint32_t at = 0; rate == 0 && at < senders; at++) fill_window(at);
  // Everything sent, finished and delivered: an ack may come before or after the delivery.
  uint64_t wanted = 0;
  uint32_t counted = 0;
  while (sent < total || finished < sent || deliveries < wanted) {
    send_what_is_due();
    turn(100);
    while (counted < sent) wanted += clients[messages[counted++].sender].deliveries;
    if (clock_ns() - progress_ns > STALLED_NS) break;
  }
  tick_every(0);
  report(cpu);
}

static void obey(char *line) {
  uint32_t a, b, c;
  char word[8];
  if (sscanf(line, "connect %u %u", &a, &b) == 2) {
    connect_all(a, b);
  } else if (sscanf(line, "send %u %u %u %7s", &senders, &window, &c, word) == 4) {
    rate = 0;
    done = strcmp(word, "ack") ? ALL : ACK;
    run_messages(c);
  } else if (sscanf(line, "pace %u %lf %u", &senders, &rate, &c) == 3) {
    done = ALL;
    run_messages(c);
  } else {
    fprintf(stderr, "load: what is this? %s", line);
    exit(2);
  }
  fflush(stdout);
}

static void read_clients(const char *path) {
  FILE *file = fopen(path, "r");
  if (!file) die(path);
  char *line = NULL;
  size_t size = 0;
  uint32_t room = 0;
  while (getline(&line, &size, file) > 0) {
    if (count == room) {
      room = room ? room * 2 : 1024;
      clients = realloc(clients, room * sizeof *clients);
      if (!clients) die("realloc");
    }
    line[strcspn(line, "\n")] = 0;
    char *save, *port = strtok_r(line, "\t", &save), *where = strtok_r(NULL, "\t", &save);
    char *deliveries_each = strtok_r(NULL, "\t", &save), *text = strtok_r(NULL, "\t", &save);
    char *mark = text ? strstr(text, "@@@@@@@@") : NULL;
    if (!mark || strlen(text) > 65535) {
      fprintf(stderr, "load: a client's line is port, path, deliveries, text with @@@@@@@@\n");
      exit(2);
    }
    clients[count++] = (Client){.fd = -1,
                                .port = atoi(port),
                                .path = strdup(where),
                                .text = strdup(text),
                                .text_bytes = strlen(text),
                                .mark = mark - text,
                                .deliveries = atoi(deliveries_each)};
  }
  free(line);
  fclose(file);
}

int main(int arguments, char **argument) {
  if (arguments != 2) {
    fprintf(stderr, "usage: load CLIENTS\n");
    return 2;
  }
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  read_clients(argument[1]);
  poller = epoll_create1(EPOLL_CLOEXEC);
  timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  struct epoll_event input = {.events = EPOLLIN, .data.ptr = &poller}, tick = {.events = EPOLLIN, .data.ptr = &timer};
  if (epoll_ctl(poller, EPOLL_CTL_ADD, 0, &input) || epoll_ctl(poller, EPOLL_CTL_ADD, timer, &tick)) die("epoll_ctl");
  setvbuf(stdin, NULL, _IONBF, 0);
  char line[256];
  for (;;)
    if (turn(-1)) {
      if (!fgets(line, sizeof line, stdin)) return 0;
      obey(line);
    }
}
