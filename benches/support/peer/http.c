/* HTTP/1.1 with a fixed answer to GET: keep-alive and pipelining over edge-triggered epoll, one
 * thread, no allocation for a request. It reads every header line, as it has to know whether a body
 * follows or the connection ends; what has a body or is no GET ends the connection.
 * All answers to what one read brought go out in one write. */
#define _GNU_SOURCE
#include "epoll.h"

enum { BUF = 65536, TURN = 16, OUT = 262144 };

static const char KEEP[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\n"
                           "Hello, world\n";
static const char LAST[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n"
                           "Connection: close\r\n\r\nHello, world\n";

static char buf[2 * BUF], out[OUT];

static int is(const char *line, size_t len, const char *name, size_t name_len) {
    return len > name_len && line[name_len] == ':' && !strncasecmp(line, name, name_len);
}
#define IS(line, len, name) is(line, len, name, sizeof name - 1)

/* The length of the first head; 0: incomplete; -1: not for us. `last` is set to whether the
 * client closes after it. */
static ssize_t head(const char *at, size_t len, int *last) {
    const char *line = at, *end = at + len, *next;
    for (int number = 0; (next = memchr(line, '\n', end - line)); number++, line = next + 1) {
        size_t size = next - line;
        if (!size || next[-1] != '\r') return -1;
        if (size == 1) return number ? next + 1 - at : -1;
        if (!number) {
            if (size < 14 || memcmp(line, "GET ", 4) || memcmp(next - 10, " HTTP/1.1\r", 10))
                return -1;
            continue;
        }
        switch (*line | 0x20) {
        case 'c':
            if (IS(line, size, "content-length")) return -1;
            if (IS(line, size, "connection"))
                *last = size >= 6 && !strncasecmp(next - 6, "close\r", 6);
            break;
        case 't':
            if (IS(line, size, "transfer-encoding")) return -1;
            break;
        default:
            if (!memchr(line, ':', size)) return -1;
        }
    }
    return 0;
}

static int serve(int fd, uint32_t events) {
    struct conn *c = &conns[fd];
    if (c->tail && flush_tail(fd, c) != 1) return 0;
    int to_eof = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    for (int turn = 0; turn < TURN; turn++) {
        size_t have = c->part_len;
        ssize_t n = read(fd, buf + have, BUF - have - 1);
        if (n <= 0) {
            if (n < 0 && errno == EAGAIN) return 0;
            return drop(fd), 0;
        }
        if (have) {
            memcpy(buf, c->part, have);
            free(c->part);
            c->part = NULL;
            c->part_len = 0;
        }
        size_t all = have + n, done = 0, put = 0;
        buf[all] = 0;
        while (done < all && !c->ends && put + sizeof LAST < OUT) {
            int last = 0;
            ssize_t size = head(buf + done, all - done, &last);
            if (!size) break;
            if (size < 0) return drop(fd), 0;
            const char *text = last ? LAST : KEEP;
            size_t text_len = last ? sizeof LAST - 1 : sizeof KEEP - 1;
            memcpy(out + put, text, text_len);
            put += text_len;
            done += size;
            c->ends = last;
        }
        if (done < all && !c->ends) {
            if (all - done >= BUF - 1) return drop(fd), 0; /* a head that is too long */
            c->part = keep(buf + done, all - done);
            c->part_len = all - done;
        }
        if (put) {
            if (!answer(fd, c, out, put)) return 0;
            if (c->tail) return 0; /* the next EPOLLOUT edge carries on */
            if (c->ends) return drop(fd), 0;
        }
        if ((size_t)n < BUF - have - 1 && !to_eof) return 0;
    }
    return 1;
}

int main(int argc, char **argv) {
    return argc < 2 ? 2 : run(atoi(argv[1]), serve, buf, sizeof buf);
}
