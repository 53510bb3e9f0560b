/* The loop that the C servers share. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 1024, ACCEPTS = 256, BACKLOG = 4096 };

/* One entry for each descriptor that the process may have. */
static void *table(size_t size) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    void *all = calloc(limit.rlim_cur, size);
    if (!all) abort();
    return all;
}

/* `serve` returns 1 when the connection must get another turn without a new edge. */
static int run(int port, int (*serve)(int, uint32_t)) {
    int one = 1, l = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(l, (void *)&a, sizeof a) || listen(l, BACKLOG)) return perror("listen"), 1;
    int ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev[EVENTS], e = {.events = EPOLLIN, .data.fd = l};
    epoll_ctl(ep, EPOLL_CTL_ADD, l, &e);
    for (;;) {
        int n = epoll_wait(ep, ev, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = ev[i].data.fd;
            e.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
            if (fd != l) {
                e.data.fd = fd;
                if (serve(fd, ev[i].events)) epoll_ctl(ep, EPOLL_CTL_MOD, fd, &e);
                continue;
            }
            for (int k = 0; k < ACCEPTS; k++) {
                int s = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (s < 0) break;
                setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                e.data.fd = s;
                if (epoll_ctl(ep, EPOLL_CTL_ADD, s, &e)) close(s);
            }
        }
    }
}
