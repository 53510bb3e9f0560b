/* Echo: edge-triggered epoll, one thread, no allocation for a message.
 * One shared buffer; a connection owns memory only while a write is short.
 * A short read is taken as "drained": no EAGAIN probe, unless EOF or an error is flagged. */
#define _GNU_SOURCE
#include "epoll.h"

enum { BUF = 65536, TURN = 16 };

static char buf[BUF];

static int serve(int fd, uint32_t events) {
    struct conn *c = &conns[fd];
    if (c->tail && flush_tail(fd, c) != 1) return 0;
    int to_eof = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    for (int turn = 0; turn < TURN; turn++) {
        ssize_t n = read(fd, buf, BUF);
        if (n <= 0) {
            if (n < 0 && errno == EAGAIN) return 0;
            return drop(fd), 0;
        }
        if (!answer(fd, c, buf, n)) return 0;
        if (c->tail) return 0; /* the next EPOLLOUT edge carries on */
        if (n < BUF && !to_eof) return 0;
    }
    return 1;
}

int main(int argc, char **argv) {
    return argc < 2 ? 2 : run(atoi(argv[1]), serve, buf, sizeof buf);
}
