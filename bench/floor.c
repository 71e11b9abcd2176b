// What the machine allows: syncs, loopback, RocksDB and memory by themselves. Prints one object of JSON.
//
//     floor DIRECTORY SECONDS
//
// Works on files below DIRECTORY, which is removed by whoever made it; each part takes at most SECONDS. See bench/floor.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <rocksdb/c.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

enum {
    sampleMax = 200000,
    messageSize = 256,
    roundTripMax = 100000,
    echoConnections = 100,
    echoInFlight = 10,
    keyCount = 1000000,
    hotKeyCount = 10000,
    batchSize = 100,
    copySize = 64 << 20,
};

static const char *directory;
static double secondsMax;
static double samples[sampleMax];

static void die(const char *what) {
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
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

/// User and system time: of this thread, or of the process.
static double cpuSeconds(int whose) {
    struct rusage usage;
    check(getrusage(whose, &usage), "getrusage");
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
        + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

// MARK: Output

static bool isFirst = true;

/// One member of the printed object.
__attribute__((format(printf, 2, 3)))
static void report(const char *name, const char *figures, ...) {
    printf("%s\"%s\":{", isFirst ? "{" : ",", name);
    isFirst = false;
    va_list list;
    va_start(list, figures);
    vprintf(figures, list);
    va_end(list);
    printf("}");
}

static int compare(const void *first, const void *second) {
    double a = *(const double *)first, b = *(const double *)second;
    return (a > b) - (a < b);
}

/// Percentiles of the first `count` samples, which are seconds.
static void reportSamples(const char *name, int count) {
    qsort(samples, (size_t)count, sizeof *samples, compare);
    double p50 = samples[count / 2] * 1e6, p99 = samples[count * 99 / 100] * 1e6;
    report(name, "\"p50Micros\":%.1f,\"p99Micros\":%.1f,\"count\":%d", p50, p99, count);
}

// MARK: Disk

/// Writes of one size, each with an `fdatasync`, one behind the other: where the file grows, or over what was written before.
static void syncs(const char *name, size_t size, bool isPreallocated) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int file = (int)check(open(path, O_RDWR | O_CREAT | O_TRUNC, 0600), path);
    char *bytes = malloc(size);
    memset(bytes, 0xa5, size);
    off_t room = isPreallocated ? 256 << 20 : 0;
    for (off_t offset = 0; offset < room; offset += (off_t)size) check(pwrite(file, bytes, size, offset), "pwrite");
    check(fsync(file), "fsync");
    int count = 0;
    off_t offset = 0;
    for (double end = now() + secondsMax; count < sampleMax && now() < end; count++) {
        double began = now();
        check(pwrite(file, bytes, size, offset), "pwrite");
        check(fdatasync(file), "fdatasync");
        samples[count] = now() - began;
        offset += (off_t)size;
        if (isPreallocated && offset >= room) offset = 0;
    }
    close(file);
    unlink(path);
    free(bytes);
    reportSamples(name, count);
}

// MARK: Loopback

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

static bool receiveWhole(int socket) {
    char message[messageSize];
    return recv(socket, message, sizeof message, MSG_WAITALL) == sizeof message;
}

static void sendWhole(int socket) {
    static const char message[messageSize];
    if (send(socket, message, sizeof message, 0) != sizeof message) die("send");
}

static void *answerOneByOne(void *socket) {
    while (receiveWhole(*(int *)socket)) sendWhole(*(int *)socket);
    return NULL;
}

static void roundTrips(void) {
    int ends[2], count = 0;
    connection(ends);
    pthread_t answerer;
    pthread_create(&answerer, NULL, answerOneByOne, &ends[1]);
    for (double end = now() + secondsMax; count < roundTripMax && now() < end; count++) {
        double began = now();
        sendWhole(ends[0]);
        if (!receiveWhole(ends[0])) die("recv");
        samples[count] = now() - began;
    }
    shutdown(ends[0], SHUT_RDWR);
    pthread_join(answerer, NULL);
    close(ends[0]);
    close(ends[1]);
    reportSamples("loopbackRoundTrip", count);
}

/// One side of the pipelined echo: sends back whatever comes, from all connections.
typedef struct {
    int poll;
    uint64_t bytes;
    double cpu;
} Side;

static atomic_bool isEchoOver;

static void *echo(void *context) {
    Side *side = context;
    char buffer[echoInFlight * messageSize];
    struct epoll_event events[echoConnections];
    while (!atomic_load(&isEchoOver)) {
        int ready = epoll_wait(side->poll, events, echoConnections, 100);
        for (int number = 0; number < ready; number++) {
            ssize_t size = recv(events[number].data.fd, buffer, sizeof buffer, MSG_DONTWAIT);
            if (size <= 0) continue;
            // Never more is under way than a socket holds, so this does not wait.
            if (send(events[number].data.fd, buffer, (size_t)size, 0) != size) die("send");
            side->bytes += (uint64_t)size;
        }
    }
    side->cpu = cpuSeconds(RUSAGE_THREAD);
    return NULL;
}

/// Each of the connections has its messages under way all the time, to and fro.
static void pipelinedEcho(void) {
    Side client = {.poll = epoll_create1(0)}, server = {.poll = epoll_create1(0)};
    int sockets[echoConnections][2];
    for (int number = 0; number < echoConnections; number++) {
        connection(sockets[number]);
        for (int end = 0; end < 2; end++) {
            struct epoll_event event = {.events = EPOLLIN, .data.fd = sockets[number][end]};
            check(epoll_ctl(end ? server.poll : client.poll, EPOLL_CTL_ADD, sockets[number][end], &event), "epoll_ctl");
        }
        for (int message = 0; message < echoInFlight; message++) sendWhole(sockets[number][0]);
    }
    pthread_t threads[2];
    double began = now();
    pthread_create(&threads[0], NULL, echo, &client);
    pthread_create(&threads[1], NULL, echo, &server);
    usleep((useconds_t)(secondsMax * 1e6));
    atomic_store(&isEchoOver, true);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    double messages = (double)server.bytes / messageSize;
    report("pipelinedEcho", "\"perSecond\":%.0f,\"serverCPUMicros\":%.2f", messages / (now() - began),
           server.cpu / messages * 1e6);
    for (int number = 0; number < echoConnections; number++) close(sockets[number][0]), close(sockets[number][1]);
    close(client.poll);
    close(server.poll);
}

// MARK: RocksDB

static void checkRocks(char *error) {
    if (error) {
        fprintf(stderr, "floor: RocksDB: %s\n", error);
        exit(1);
    }
}

static uint64_t random64(void) {
    static uint64_t state = 1;  // xorshift
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static void makeKey(char key[17], uint64_t number) { snprintf(key, 17, "%016llu", (unsigned long long)number); }

/// Batches of 100 puts of random keys without the write-ahead log, flushes and compactions included in the CPU; then gets of
/// keys that are in memory. 16-byte keys, 256-byte values that do not compress.
static void rocks(void) {
    char path[4096], key[17], value[messageSize], *error = NULL;
    snprintf(path, sizeof path, "%s/rocksdb", directory);
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_options_set_write_buffer_size(options, 16 << 20);
    rocksdb_options_set_allow_concurrent_memtable_write(options, 0);
    rocksdb_options_set_level0_file_num_compaction_trigger(options, 16);
    rocksdb_t *database = rocksdb_open(options, path, &error);
    checkRocks(error);
    rocksdb_writeoptions_t *write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(write, 1);
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    double cpu = cpuSeconds(RUSAGE_SELF), began = now();
    uint64_t puts = 0;
    for (; now() - began < secondsMax; puts += batchSize) {
        for (int number = 0; number < batchSize; number++) {
            makeKey(key, random64() % keyCount);
            for (size_t at = 0; at < sizeof value; at += 8) memcpy(value + at, &(uint64_t){random64()}, 8);
            rocksdb_writebatch_put(batch, key, 16, value, sizeof value);
        }
        rocksdb_write(database, write, batch, &error);
        checkRocks(error);
        rocksdb_writebatch_clear(batch);
    }
    report("rocksPut", "\"perSecond\":%.0f,\"cpuMicros\":%.2f", (double)puts / (now() - began),
           (cpuSeconds(RUSAGE_SELF) - cpu) / (double)puts * 1e6);

    for (uint64_t number = 0; number < hotKeyCount; number++) {
        makeKey(key, number);
        rocksdb_put(database, write, key, 16, value, sizeof value, &error);
        checkRocks(error);
    }
    rocksdb_readoptions_t *read = rocksdb_readoptions_create();
    uint64_t gets = 0;
    cpu = cpuSeconds(RUSAGE_THREAD), began = now();
    for (; now() - began < secondsMax; gets++) {
        makeKey(key, random64() % hotKeyCount);
        size_t size;
        char *found = rocksdb_get(database, read, key, 16, &size, &error);
        checkRocks(error);
        rocksdb_free(found);
    }
    report("rocksHotGet", "\"perSecond\":%.0f,\"cpuMicros\":%.2f", (double)gets / (now() - began),
           (cpuSeconds(RUSAGE_THREAD) - cpu) / (double)gets * 1e6);
    rocksdb_readoptions_destroy(read);
    rocksdb_writebatch_destroy(batch);
    rocksdb_writeoptions_destroy(write);
    rocksdb_close(database);
    rocksdb_options_destroy(options);
}

// MARK: Memory

static void copies(void) {
    char *source = malloc(copySize), *target = malloc(copySize);
    memset(source, 1, copySize);
    memset(target, 2, copySize);
    uint64_t count = 0;
    double began = now();
    for (; now() - began < secondsMax; count++) {
        memcpy(target, source, copySize);
        // Or the compiler would leave the copies out.
        __asm__ volatile("" : : "r"(target) : "memory");
    }
    report("memcpy", "\"gigabytesPerSecond\":%.2f", (double)count * copySize / (now() - began) / 1e9);
    free(source);
    free(target);
}

int main(int count, char **arguments) {
    if (count != 3) {
        fputs("usage: floor DIRECTORY SECONDS\n", stderr);
        return 2;
    }
    directory = arguments[1];
    secondsMax = atof(arguments[2]);
    struct statfs system;
    check(statfs(directory, &system), directory);
    if (system.f_type == TMPFS_MAGIC) {
        fprintf(stderr, "floor: %s is in memory, where a sync costs nothing; set TMPDIR to a directory on a disk\n", directory);
        return 1;
    }
    syncs("sync4KGrowing", 4 << 10, false);
    syncs("sync4KPreallocated", 4 << 10, true);
    syncs("sync64K", 64 << 10, true);
    syncs("sync1M", 1 << 20, true);
    roundTrips();
    pipelinedEcho();
    rocks();
    copies();
    printf("}\n");
    return 0;
}
