/* Answers every line with itself: edge-triggered epoll, one thread, no allocation for a line.
 * One shared buffer; a connection owns memory only while a line is incomplete or a write is short.
 * A short read is taken as "drained": no EAGAIN probe, unless EOF or an error is flagged. */
#define _GNU_SOURCE
#include "epoll.h"

enum { BUF = 65536, TURN = 16 };

static char buf[2 * BUF];

static int serve(int fd, uint32_t events) {
    struct conn *c = &conns[fd];
    if (c->tail && flush_tail(fd, c) != 1) return 0;
    int to_eof = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    for (int turn = 0; turn < TURN; turn++) {
        size_t have = c->part_len;
        ssize_t n = read(fd, buf + have, BUF);
        if (n <= 0) {
            if (n < 0 && errno == EAGAIN) return 0;
            return drop(fd), 0;
        }
        if (have) { /* only now: a connection without more input keeps its part */
            memcpy(buf, c->part, have);
            free(c->part);
            c->part = NULL;
            c->part_len = 0;
        }
        size_t all = have + n;
        char *end = memrchr(buf + have, '\n', n);
        size_t whole = end ? (size_t)(end + 1 - buf) : 0;
        if (all - whole > BUF) return drop(fd), 0; /* a line that is too long */
        if (whole < all) {
            c->part = keep(buf + whole, all - whole);
            c->part_len = all - whole;
        }
        if (whole && !answer(fd, c, buf, whole)) return 0;
        if (c->tail) return 0; /* the next EPOLLOUT edge carries on */
        if (n < BUF && !to_eof) return 0;
    }
    return 1;
}

int main(int argc, char **argv) {
    return argc < 2 ? 2 : run(atoi(argv[1]), serve, buf, sizeof buf);
}
