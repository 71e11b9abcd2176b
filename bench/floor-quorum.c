// What the least of quorums takes for writes that come at a rate, one by one: three processes of one thread each, loopback, a log
// of each on the disk. No state, no sessions, no checks, no elections; so nothing that keeps more promises is faster here.
// Prints one object of JSON.
//
//     floor-quorum DIRECTORY SECONDS CONNECTIONS RATE WORK
//
// RATE requests a second in open loop: each has its time, and is late from then on, whether it could be sent or not. WORK is what
// each node spends on each request once it is logged, in microseconds, in place of a state. See bench/floor.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    requestSize = 300,
    answerSize = 32,
    followerCount = 2,
    slabRequestsMax = 8192,
    connectionsMax = 4096,
    logSize = 64 << 20,
    eventsMax = 512,
};

/// Requests in the order of their places in the log, as they go to the followers and into the log.
typedef struct {
    uint32_t number;
    uint32_t count;
    char requests[slabRequestsMax][requestSize];
} Slab;

enum { slabHeaderSize = 8 };

/// What a request and its answer begin with.
typedef struct {
    uint32_t connection;
    uint32_t number;
} Name;

static double workSeconds;

static void die(const char *what) {
    fprintf(stderr, "floor-quorum: %s: %s\n", what, strerror(errno));
    exit(1);
}

static long check(long result, const char *what) {
    if (result < 0) die(what);
    return result;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void work(uint32_t count) {
    for (double end = now() + workSeconds * count; now() < end;) {}
}

static size_t slabSize(const Slab *slab) { return slabHeaderSize + (size_t)slab->count * requestSize; }

// MARK: Log

typedef struct {
    int file;
    off_t offset;
} Log;

/// Written once from end to end, so that later writes change nothing but bytes.
static Log openLog(const char *directory, int node) {
    char path[4096];
    snprintf(path, sizeof path, "%s/log-%d", directory, node);
    Log log = {.file = (int)check(open(path, O_RDWR | O_CREAT | O_TRUNC, 0600), path)};
    static const char zeros[1 << 20];
    for (off_t offset = 0; offset < logSize; offset += sizeof zeros) {
        check(pwrite(log.file, zeros, sizeof zeros, offset), "pwrite");
    }
    check(fsync(log.file), "fsync");
    return log;
}

static void append(Log *log, const Slab *slab) {
    size_t size = slabSize(slab);
    if (log->offset + (off_t)size > logSize) log->offset = 0;
    check(pwrite(log->file, slab, size, log->offset), "pwrite");
    check(fdatasync(log->file), "fdatasync");
    log->offset += (off_t)size;
}

// MARK: Sockets

/// A connection over loopback: `ends[0]` and `ends[1]`.
static void connection(int ends[2]) {
    int listener = (int)check(socket(AF_INET, SOCK_STREAM, 0), "socket");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    check(bind(listener, (struct sockaddr *)&address, size), "bind");
    check(listen(listener, 1), "listen");
    check(getsockname(listener, (struct sockaddr *)&address, &size), "getsockname");
    ends[0] = (int)check(socket(AF_INET, SOCK_STREAM, 0), "socket");
    check(connect(ends[0], (struct sockaddr *)&address, size), "connect");
    ends[1] = (int)check(accept(listener, NULL, NULL), "accept");
    close(listener);
    int yes = 1;
    for (int end = 0; end < 2; end++) check(setsockopt(ends[end], IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes), "TCP_NODELAY");
}

/// Waits where the socket is full; the other side always reads.
static void sendAll(int socket, const void *bytes, size_t size) {
    for (const char *at = bytes; size > 0;) {
        ssize_t sent = send(socket, at, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EPIPE) exit(0);
        check(sent, "send");
        at += sent;
        size -= (size_t)sent;
    }
}

/// Returns false when the other side is gone, which is how a run ends.
static bool receiveAll(int socket, void *bytes, size_t size) {
    return size == 0 || recv(socket, bytes, size, MSG_WAITALL) == (ssize_t)size;
}

static void watchSocket(int poll, int socket, uint32_t name) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = name};
    check(epoll_ctl(poll, EPOLL_CTL_ADD, socket, &event), "epoll_ctl");
}

// MARK: Nodes

static void follow(int leader, Log log) {
    static Slab slab;
    while (receiveAll(leader, &slab, slabHeaderSize)
           && receiveAll(leader, slab.requests, (size_t)slab.count * requestSize)) {
        append(&log, &slab);
        sendAll(leader, &slab.number, sizeof slab.number);
        work(slab.count);
    }
}

/// One of the leader's clients: what has come of a request that is not whole yet, and the answers that go out together.
typedef struct {
    int socket;
    size_t received;
    char request[requestSize];
    uint32_t answerCount;
    char answers[slabRequestsMax][answerSize];
} Client;

/// Takes what there is of whole requests, as far as the slab has room.
static void takeRequests(Client *client, Slab *slab) {
    while (slab->count < slabRequestsMax) {
        ssize_t size = recv(
            client->socket, client->request + client->received, requestSize - client->received, MSG_DONTWAIT);
        if (size == 0) exit(0);
        if (size < 0) return;
        client->received += (size_t)size;
        if (client->received < requestSize) return;
        memcpy(slab->requests[slab->count++], client->request, requestSize);
        client->received = 0;
    }
}

static void answer(Client *clients, const Slab *slab) {
    for (uint32_t place = 0; place < slab->count; place++) {
        Name name;
        memcpy(&name, slab->requests[place], sizeof name);
        Client *client = &clients[name.connection];
        memcpy(client->answers[client->answerCount++], &name, sizeof name);
    }
    for (uint32_t place = 0; place < slab->count; place++) {
        Name name;
        memcpy(&name, slab->requests[place], sizeof name);
        Client *client = &clients[name.connection];
        sendAll(client->socket, client->answers, (size_t)client->answerCount * answerSize);
        client->answerCount = 0;
    }
}

/// What comes while a slab is under way becomes the next one. It is committed when the leader and one follower have it on their disks.
static void lead(const int *sockets, int connectionCount, const int *followers, Log log) {
    static Slab open, underWay;
    Client *clients = calloc((size_t)connectionCount, sizeof *clients);
    int poll = (int)check(epoll_create1(0), "epoll_create1");
    for (int number = 0; number < connectionCount; number++) {
        clients[number].socket = sockets[number];
        watchSocket(poll, sockets[number], (uint32_t)number);
    }
    for (int number = 0; number < followerCount; number++) watchSocket(poll, followers[number], (uint32_t)(connectionsMax + number));
    uint32_t acknowledged = 0;
    struct epoll_event events[eventsMax];
    while (true) {
        int ready = epoll_wait(poll, events, eventsMax, -1);
        for (int number = 0; number < ready; number++) {
            uint32_t name = events[number].data.u32;
            if (name < connectionsMax) {
                takeRequests(&clients[name], &open);
            } else {
                uint32_t slab;
                if (!receiveAll(followers[name - connectionsMax], &slab, sizeof slab)) exit(0);
                if (slab > acknowledged) acknowledged = slab;
            }
        }
        if (underWay.count > 0 && acknowledged == underWay.number) {
            work(underWay.count);
            answer(clients, &underWay);
            underWay.count = 0;
        }
        if (underWay.count == 0 && open.count > 0) {
            open.number++;
            memcpy(&underWay, &open, slabSize(&open));
            open.count = 0;
            for (int number = 0; number < followerCount; number++) sendAll(followers[number], &underWay, slabSize(&underWay));
            append(&log, &underWay);
        }
    }
}

// MARK: Load

static int compare(const void *first, const void *second) {
    double a = *(const double *)first, b = *(const double *)second;
    return (a > b) - (a < b);
}

/// Sends each request at its time, in turn over the connections, and prints how late the answers were.
static void load(const int *sockets, int connectionCount, double rate, double seconds) {
    int poll = (int)check(epoll_create1(0), "epoll_create1");
    for (int number = 0; number < connectionCount; number++) watchSocket(poll, sockets[number], (uint32_t)number);
    size_t total = (size_t)(rate * seconds), sent = 0, answered = 0;
    double *latencies = malloc(total * sizeof *latencies);
    char request[requestSize] = {0}, answers[1024 * answerSize];
    double start = now() + 0.1, last = start;
    struct epoll_event events[eventsMax];
    while (answered < total) {
        for (double time = now(); sent < total && start + (double)sent / rate <= time; sent++) {
            Name name = {.connection = (uint32_t)sent % (uint32_t)connectionCount, .number = (uint32_t)sent};
            memcpy(request, &name, sizeof name);
            sendAll(sockets[name.connection], request, requestSize);
        }
        double wait = sent < total ? start + (double)sent / rate - now() : 0.1;
        struct timespec timeout = {.tv_nsec = wait > 0 ? (long)(wait * 1e9) : 0};
        int ready = epoll_pwait2(poll, events, eventsMax, &timeout, NULL);
        for (int number = 0; number < ready; number++) {
            int socket = sockets[events[number].data.u32];
            ssize_t size = check(recv(socket, answers, sizeof answers, MSG_DONTWAIT), "recv");
            // An answer is written whole, and read whole unless a socket breaks it.
            if (size == 0 || size % answerSize != 0) die("an answer is cut off");
            last = now();
            for (ssize_t at = 0; at < size; at += answerSize) {
                Name name;
                memcpy(&name, answers + at, sizeof name);
                latencies[answered++] = last - (start + (double)name.number / rate);
            }
        }
    }
    qsort(latencies, total, sizeof *latencies, compare);
    struct rusage nodes;
    printf("{\"perSecond\":%.0f,\"p50Micros\":%.0f,\"p99Micros\":%.0f,\"p999Micros\":%.0f", (double)total / (last - start),
           latencies[total / 2] * 1e6, latencies[total * 99 / 100] * 1e6, latencies[total * 999 / 1000] * 1e6);
    for (int number = 0; number < connectionCount; number++) close(sockets[number]);
    while (wait(NULL) > 0) {}
    check(getrusage(RUSAGE_CHILDREN, &nodes), "getrusage");
    double cpu = (double)(nodes.ru_utime.tv_sec + nodes.ru_stime.tv_sec)
        + (double)(nodes.ru_utime.tv_usec + nodes.ru_stime.tv_usec) / 1e6;
    printf(",\"serverCPUMicros\":%.1f}\n", cpu / (double)total * 1e6);
}

/// - Returns: true in the child, which ends with its parent.
static bool begin(void) {
    pid_t parent = getpid();
    if (check(fork(), "fork") != 0) return false;
    check(prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl");
    if (getppid() != parent) exit(0);
    return true;
}

int main(int count, char **arguments) {
    int connectionCount = count == 6 ? atoi(arguments[3]) : 0;
    if (connectionCount < 1 || connectionCount >= connectionsMax) {
        fputs("usage: floor-quorum DIRECTORY SECONDS CONNECTIONS RATE WORK\n", stderr);
        return 2;
    }
    double seconds = atof(arguments[2]), rate = atof(arguments[4]);
    workSeconds = atof(arguments[5]) / 1e6;
    int ends[connectionsMax][2], clients[connectionsMax], served[connectionsMax], followers[followerCount];
    Log logs[followerCount + 1];
    for (int node = 0; node <= followerCount; node++) logs[node] = openLog(arguments[1], node);
    // Whoever starts holds no end of what others talk over, or nobody would see it closed.
    for (int node = 0; node < followerCount; node++) {
        int pair[2];
        connection(pair);
        if (begin()) {
            for (int earlier = 0; earlier < node; earlier++) close(followers[earlier]);
            close(pair[0]);
            follow(pair[1], logs[node + 1]);
            return 0;
        }
        close(pair[1]);
        followers[node] = pair[0];
    }
    for (int number = 0; number < connectionCount; number++) {
        connection(ends[number]);
        clients[number] = ends[number][0];
        served[number] = ends[number][1];
    }
    if (begin()) {
        for (int number = 0; number < connectionCount; number++) close(clients[number]);
        lead(served, connectionCount, followers, logs[0]);
    }
    for (int number = 0; number < connectionCount; number++) close(served[number]);
    for (int node = 0; node < followerCount; node++) close(followers[node]);
    load(clients, connectionCount, rate, seconds);
    return 0;
}
