// The floor of fan-out: a WebSocket server of one thread that sends each text frame of a client to all clients, with one
// send() for each delivery, and does nothing else. No service can deliver for less with the same system call.
//
//   floor            listens on a free port of 127.0.0.1, prints it, ends when its standard input does
//
// It answers one handshake only: the one of RFC 6455 section 1.3, which is what the load generator sends.
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRAME_LIMIT 4096

static const char SWITCHING[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

typedef struct Client {
  int fd, index, upgraded;
  size_t in_bytes;
  unsigned char in[FRAME_LIMIT * 2];
  unsigned char *out; // what the socket has not taken
  size_t out_bytes, out_room;
} Client;

static int poller;
static Client **clients;
static int count, room;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void watch(Client *client, int how, uint32_t events) {
  struct epoll_event event = {.events = events, .data.ptr = client};
  if (epoll_ctl(poller, how, client->fd, &event)) die("epoll_ctl");
}

static void drop(Client *client) {
  clients[client->index] = clients[--count];
  clients[client->index]->index = client->index;
  close(client->fd);
  free(client->out);
  free(client);
}

// Keep what the socket does not take, and send it when it does.
static void keep(Client *client, const unsigned char *bytes, size_t size) {
  if (client->out_bytes + size > client->out_room) {
    client->out_room = (client->out_bytes + size) * 2;
    client->out = realloc(client->out, client->out_room);
    if (!client->out) die("realloc");
  }
  if (!client->out_bytes) watch(client, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
  memcpy(client->out + client->out_bytes, bytes, size);
  client->out_bytes += size;
}

static void deliver(Client *client, const unsigned char *bytes, size_t size) {
  ssize_t taken = client->out_bytes ? 0 : send(client->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (taken < 0) {
    if (errno != EAGAIN) return; // it is gone, which its next event will tell
    taken = 0;
  }
  if ((size_t)taken < size) keep(client, bytes + taken, size - taken);
}

static void flush(Client *client) {
  ssize_t taken = send(client->fd, client->out, client->out_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (taken < 0) return;
  client->out_bytes -= taken;
  memmove(client->out, client->out + taken, client->out_bytes);
  if (!client->out_bytes) watch(client, EPOLL_CTL_MOD, EPOLLIN);
}

// The frame without its mask, to everybody.
static void broadcast(const unsigned char *payload, const unsigned char *mask, size_t size) {
  static unsigned char frame[FRAME_LIMIT + 4];
  size_t header = 2;
  frame[0] = 0x81;
  if (size < 126) {
    frame[1] = size;
  } else {
    frame[1] = 126;
    frame[2] = size >> 8;
    frame[3] = size;
    header = 4;
  }
  for (size_t at = 0; at < size; at++) frame[header + at] = payload[at] ^ mask[at & 3];
  for (int at = 0; at < count; at++)
    if (clients[at]->upgraded) deliver(clients[at], frame, header + size);
}

static int upgrade(Client *client) {
  if (client->in_bytes < 4 || !memmem(client->in, client->in_bytes, "\r\n\r\n", 4)) return 1;
  client->upgraded = 1;
  client->in_bytes = 0;
  return send(client->fd, SWITCHING, sizeof SWITCHING - 1, MSG_NOSIGNAL) == sizeof SWITCHING - 1;
}

// Whether the client may stay.
static int take_frames(Client *client) {
  size_t at = 0;
  while (client->in_bytes - at >= 6) {
    unsigned char *frame = client->in + at;
    size_t size = frame[1] & 0x7f, header = 2;
    if (size == 126) {
      if (client->in_bytes - at < 8) break;
      size = frame[2] << 8 | frame[3];
      header = 4;
    }
    if (size > FRAME_LIMIT || !(frame[1] & 0x80)) return 0;
    if (client->in_bytes - at < header + 4 + size) break;
    int opcode = frame[0] & 0x0f;
    if (opcode == 8) return 0;
    if (opcode == 1) broadcast(frame + header + 4, frame + header, size);
    at += header + 4 + size;
  }
  client->in_bytes -= at;
  memmove(client->in, client->in + at, client->in_bytes);
  return 1;
}

static int take(Client *client) {
  ssize_t size = recv(client->fd, client->in + client->in_bytes, sizeof client->in - client->in_bytes, MSG_DONTWAIT);
  if (size < 0) return errno == EAGAIN;
  if (size == 0) return 0;
  client->in_bytes += size;
  return client->upgraded ? take_frames(client) : upgrade(client);
}

static void welcome(int listening) {
  for (;;) {
    int one = 1, fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (count == room) {
      room = room ? room * 2 : 1024;
      clients = realloc(clients, room * sizeof *clients);
    }
    Client *client = calloc(1, sizeof *client);
    if (!client || !clients) die("memory");
    client->fd = fd;
    client->index = count;
    clients[count++] = client;
    watch(client, EPOLL_CTL_ADD, EPOLLIN);
  }
}

int main(void) {
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);

  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof address;
  int listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (listening < 0 || bind(listening, (void *)&address, size) || listen(listening, 4096)) die("listen");
  getsockname(listening, (void *)&address, &size);
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);

  poller = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event door = {.events = EPOLLIN, .data.ptr = &listening}, end = {.events = EPOLLIN, .data.ptr = &poller};
  if (epoll_ctl(poller, EPOLL_CTL_ADD, listening, &door) || epoll_ctl(poller, EPOLL_CTL_ADD, 0, &end)) die("epoll_ctl");
  for (;;) {
    struct epoll_event events[512];
    int ready = epoll_wait(poller, events, 512, -1);
    if (ready < 0 && errno != EINTR) die("epoll_wait");
    for (int at = 0; at < ready; at++) {
      if (events[at].data.ptr == &listening) {
        welcome(listening);
        continue;
      }
      if (events[at].data.ptr == &poller) {
        char ignored[64];
        if (read(0, ignored, sizeof ignored) <= 0) return 0;
        continue;
      }
      Client *client = events[at].data.ptr;
      if (events[at].events & EPOLLOUT) flush(client);
      if (events[at].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !take(client)) drop(client);
    }
  }
}
