/* What the C servers share: connections with what is kept for them, and the loop. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 1024, ACCEPTS = 256, BACKLOG = 4096, SHUTS = 256 };

/* A connection owns memory only while input is incomplete or a write is short. */
struct conn {
    char *part, *tail;           /* incomplete input; what is still to be written */
    uint32_t part_len, off, len; /* part[..part_len), tail[off..len) */
    int ends;                    /* it is closed once the tail is written */
    int open, shut;              /* there is one; its FIN is sent */
};

/* One entry for each descriptor that the process may have. */
static struct conn *conns;
static int count, highest; /* open connections, and their highest descriptor */
static volatile sig_atomic_t told;

static void on_term(int number) {
    (void)number;
    told = 1;
}

static void drop(int fd) {
    count--;
    free(conns[fd].part);
    free(conns[fd].tail);
    memset(&conns[fd], 0, sizeof conns[fd]);
    close(fd);
}

static char *keep(const char *from, size_t len) {
    char *to = malloc(len);
    if (!to) abort();
    return memcpy(to, from, len);
}

/* 1: nothing left to send, 0: the socket is full, -1: connection dropped */
static int flush_tail(int fd, struct conn *c) {
    while (c->off < c->len) {
        ssize_t w = write(fd, c->tail + c->off, c->len - c->off);
        if (w < 0) {
            if (errno == EAGAIN) return 0;
            drop(fd);
            return -1;
        }
        c->off += w;
    }
    free(c->tail);
    c->tail = NULL;
    if (c->ends) return drop(fd), -1;
    return 1;
}

/* 1: written or kept, 0: dropped */
static int answer(int fd, struct conn *c, const char *from, size_t len) {
    ssize_t w = write(fd, from, len);
    if (w < 0 && errno != EAGAIN) return drop(fd), 0;
    if (w < 0) w = 0;
    if ((size_t)w < len) {
        c->tail = keep(from + w, len - w);
        c->off = 0;
        c->len = len - w;
    }
    return 1;
}

/* The least that a stop takes which resets nobody: a connection is served a last time and shut,
 * and closed when its peer has closed. Nothing finds out whether the peers have everything. */
static void shut_some(int (*serve)(int, uint32_t)) {
    static int at;
    for (int done = 0; done < SHUTS && at <= highest; at++) {
        if (!conns[at].open || conns[at].shut) continue;
        done++;
        while (serve(at, 0)) continue;
        if (!conns[at].open) continue;
        if (conns[at].tail) conns[at].ends = 1;
        else if (!shutdown(at, SHUT_WR)) conns[at].shut = 1;
        else drop(at);
    }
}

static void end(int fd, uint32_t events, char *buf, size_t size) {
    if (!(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))) return;
    ssize_t n;
    while ((n = read(fd, buf, size)) > 0) continue;
    if (n == 0 || errno != EAGAIN) drop(fd);
}

/* `serve` returns 1 when the connection must get another turn without a new edge. */
static int run(int port, int (*serve)(int, uint32_t), char *buf, size_t size) {
    int one = 1, l = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    conns = calloc(limit.rlim_cur, sizeof *conns);
    if (!conns) abort();
    struct sigaction term = {.sa_handler = on_term};
    sigaction(SIGTERM, &term, NULL);
    setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(l, (void *)&a, sizeof a) || listen(l, BACKLOG)) return perror("listen"), 1;
    int ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev[EVENTS], e = {.events = EPOLLIN, .data.fd = l};
    epoll_ctl(ep, EPOLL_CTL_ADD, l, &e);
    for (;;) {
        int n = epoll_wait(ep, ev, EVENTS, told ? 0 : -1);
        if (told && l >= 0) close(l), l = -1;
        for (int i = 0; i < n; i++) {
            int fd = ev[i].data.fd;
            e.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
            if (fd != l) {
                e.data.fd = fd;
                if (!conns[fd].open) continue;
                if (conns[fd].shut) end(fd, ev[i].events, buf, size);
                else if (serve(fd, ev[i].events)) epoll_ctl(ep, EPOLL_CTL_MOD, fd, &e);
                continue;
            }
            for (int k = 0; k < ACCEPTS; k++) {
                int s = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (s < 0) break;
                setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                conns[s].open = 1;
                count++;
                if (s > highest) highest = s;
                e.data.fd = s;
                if (epoll_ctl(ep, EPOLL_CTL_ADD, s, &e)) drop(s);
            }
        }
        if (told) shut_some(serve);
        if (told && !count) return 0;
    }
}
