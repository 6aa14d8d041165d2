/* delay PORT MILLISECONDS [MEGABYTES]: relays TCP to a port of this machine, and delays every byte, each way, by this
 * time. All connections together pass at most this many megabytes per second each way.
 *
 * Prints the port that it listens on, and runs until it is killed. Connecting isn't delayed. The delay is constant, so
 * one queue in order of arrival holds all waiting bytes of each direction, at the cost of one copy.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define BUFFER (256u << 10)
#define MOST_HELD (16u << 20) /* bytes per direction of a connection, so that a slow reader slows down its writer */
#define MOST_HELD_BY_RATE (1u << 20) /* the same with a limited rate, so that other connections don't wait for long */
#define EVENTS 256
#define TICK 1000000u /* nanoseconds; bytes that are due in the same tick are sent together, which saves most wake-ups */

struct end;

/* The result of one read. An empty chunk is the end of the stream. */
struct chunk {
    struct chunk *next;
    struct end *to;
    uint64_t due;
    size_t size, sent;
    char data[];
};

struct queue {
    struct chunk *first, *last;
};

/* One socket of a connection, and the chunks that are due but not yet sent. */
struct end {
    int socket;
    struct link *link;
    struct end *other;
    struct queue ready;
    size_t held; /* bytes on their way to this socket */
    bool ended;  /* no more data comes from this socket */
    bool shut;   /* no more data is sent to this socket */
    uint32_t watched;
};

/* A connection from a client to the server. */
struct link {
    struct end ends[2];
    size_t chunks; /* waiting chunks of this link */
    bool closed;
    struct link *next; /* next link to free */
};

static int watcher, timer;
static uint64_t delay;
static double rate; /* bytes per nanosecond and direction; 0 for no limit */
static uint64_t free_at[2]; /* when the line is free, by direction */
static struct queue waiting[2]; /* by direction: to the client, and to the server */
static size_t most_held = MOST_HELD;
static struct link *closed_links;
static char buffer[BUFFER];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void append(struct queue *queue, struct chunk *chunk) {
    chunk->next = NULL;
    if (queue->last)
        queue->last->next = chunk;
    else
        queue->first = chunk;
    queue->last = chunk;
}

static struct chunk *take(struct queue *queue) {
    struct chunk *chunk = queue->first;
    queue->first = chunk->next;
    if (!queue->first)
        queue->last = NULL;
    return chunk;
}

static void drop(struct chunk *chunk) {
    chunk->to->link->chunks--;
    free(chunk);
}

/* Wake up when the first waiting chunk is due. */
static void set_timer(void) {
    uint64_t due = UINT64_MAX;
    for (int i = 0; i < 2; i++)
        if (waiting[i].first && waiting[i].first->due < due)
            due = waiting[i].first->due;
    if (due == UINT64_MAX)
        return;
    struct itimerspec when = {.it_value = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)}};
    if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL))
        fail("timerfd_settime");
}

/* Watch a socket for reading while there is room, and for writing while chunks are ready. */
static void watch(struct end *end, int how) {
    uint32_t wanted = 0;
    if (end->ended && end->shut) { /* a finished socket would be reported for ever */
        epoll_ctl(watcher, EPOLL_CTL_DEL, end->socket, NULL);
        return;
    }
    if (!end->ended && end->other->held < most_held)
        wanted |= EPOLLIN;
    if (end->ready.first)
        wanted |= EPOLLOUT;
    if (wanted == end->watched && how == EPOLL_CTL_MOD)
        return;
    end->watched = wanted;
    struct epoll_event event = {.events = wanted, .data.ptr = end};
    if (epoll_ctl(watcher, how, end->socket, &event))
        fail("epoll_ctl");
}

/* Close both sockets; events and waiting chunks may still refer to the link, so it is freed later. */
static void hang_up(struct link *link) {
    if (link->closed)
        return;
    link->closed = true;
    for (int i = 0; i < 2; i++) {
        close(link->ends[i].socket);
        while (link->ends[i].ready.first)
            drop(take(&link->ends[i].ready));
    }
    link->next = closed_links;
    closed_links = link;
}

static void free_closed(void) {
    for (struct link **place = &closed_links; *place;) {
        struct link *link = *place;
        if (link->chunks) {
            place = &link->next;
        } else {
            *place = link->next;
            free(link);
        }
    }
}

static uint64_t due_of(int way, size_t size) {
    uint64_t time = now();
    if (rate > 0) {
        if (free_at[way] < time)
            free_at[way] = time;
        free_at[way] += (uint64_t)((double)size / rate);
        time = free_at[way];
    }
    return (time + delay + TICK / 2) / TICK * TICK;
}

static void hold(struct end *to, const char *data, size_t size) {
    int way = to == &to->link->ends[1];
    struct chunk *chunk = malloc(sizeof *chunk + size);
    if (!chunk)
        fail("malloc");
    *chunk = (struct chunk){.to = to, .due = due_of(way, size), .size = size};
    memcpy(chunk->data, data, size);
    to->held += size;
    to->link->chunks++;
    bool was_empty = !waiting[way].first;
    append(&waiting[way], chunk);
    if (was_empty)
        set_timer();
}

static void read_from(struct end *end) {
    ssize_t size = recv(end->socket, buffer, sizeof buffer, 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (size < 0) {
        hang_up(end->link);
        return;
    }
    end->ended = size == 0;
    hold(end->other, buffer, (size_t)size);
    watch(end, EPOLL_CTL_MOD);
}

static void write_to(struct end *end) {
    while (end->ready.first) {
        struct chunk *chunk = end->ready.first;
        if (chunk->size == 0) {
            shutdown(end->socket, SHUT_WR);
            end->shut = true;
        }
        while (chunk->sent < chunk->size) {
            ssize_t sent = send(end->socket, chunk->data + chunk->sent, chunk->size - chunk->sent, MSG_NOSIGNAL);
            if (sent < 0 && (errno == EAGAIN || errno == ENOTCONN)) { /* the connection to the server may not be established yet */
                watch(end, EPOLL_CTL_MOD);
                return;
            }
            if (sent < 0) {
                hang_up(end->link);
                return;
            }
            chunk->sent += (size_t)sent;
            end->held -= (size_t)sent;
        }
        drop(take(&end->ready));
    }
    if (end->shut && end->other->shut) {
        hang_up(end->link);
        return;
    }
    watch(end, EPOLL_CTL_MOD);
    watch(end->other, EPOLL_CTL_MOD);
}

static void release_due(void) {
    uint64_t expirations;
    if (read(timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN)
        fail("read");
    uint64_t time = now();
    for (int i = 0; i < 2; i++) {
        while (waiting[i].first && waiting[i].first->due <= time) {
            struct chunk *chunk = take(&waiting[i]);
            struct end *to = chunk->to;
            if (to->link->closed) {
                drop(chunk);
                continue;
            }
            append(&to->ready, chunk);
            if (to->ready.first == chunk)
                write_to(to);
        }
    }
    set_timer();
}

static void add_end(struct link *link, int i, int socket) {
    int on = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    link->ends[i] = (struct end){.socket = socket, .link = link, .other = &link->ends[1 - i]};
}

static void accept_from(int listener, const struct sockaddr_in *server) {
    int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0)
        return;
    int upstream = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (upstream < 0)
        fail("socket");
    if (connect(upstream, (const struct sockaddr *)server, sizeof *server) && errno != EINPROGRESS) {
        close(upstream);
        close(client);
        return;
    }
    struct link *link = calloc(1, sizeof *link);
    if (!link)
        fail("calloc");
    add_end(link, 0, client);
    add_end(link, 1, upstream);
    watch(&link->ends[0], EPOLL_CTL_ADD);
    watch(&link->ends[1], EPOLL_CTL_ADD);
}

static int listening(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1024))
        fail("listen");
    if (getsockname(listener, (struct sockaddr *)&address, &size))
        fail("getsockname");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(int argc, char **argv) {
    if (argc != 3 && argc != 4) {
        fprintf(stderr, "usage: delay PORT MILLISECONDS [MEGABYTES]\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct sockaddr_in server = {.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)atoi(argv[1])),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    delay = (uint64_t)(atof(argv[2]) * 1e6);
    if (argc == 4) {
        rate = atof(argv[3]) / 1000;
        most_held = MOST_HELD_BY_RATE;
    }
    watcher = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    int listener = listening();
    struct epoll_event on_timer = {.events = EPOLLIN, .data.ptr = &timer};
    struct epoll_event on_listener = {.events = EPOLLIN, .data.ptr = &server};
    if (epoll_ctl(watcher, EPOLL_CTL_ADD, timer, &on_timer) ||
        epoll_ctl(watcher, EPOLL_CTL_ADD, listener, &on_listener))
        fail("epoll_ctl");
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(watcher, events, EVENTS, -1);
        if (count < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < count; i++) {
            struct end *end = events[i].data.ptr;
            if (events[i].data.ptr == &timer)
                release_due();
            else if (events[i].data.ptr == &server)
                accept_from(listener, &server);
            else if (!end->link->closed && events[i].events & EPOLLOUT)
                write_to(end);
            else if (!end->link->closed)
                read_from(end);
        }
        free_closed();
    }
}
