// Puts load on a ZooKeeper ensemble through its own C client, and tells what it measured as one object of JSON.
//
//     zookeeper-load write|read|import|probe --endpoints A,B,C [--connections C] [--in-flight N] [--seconds S]
//                    [--value-size B] [--keys K] [--read-level linearizable|stale]
//
// write    sets the values of random keys.
// read     gets random keys: linearizable is a sync and the get behind it, both sent at once; stale is the get alone.
// import   creates every key once, a hundred to a multi-operation.
// probe    sets one key over one session, one set after the other, until it is killed, and prints a line for each that was
//          acknowledged: when it began and when the answer came, in nanoseconds of the wall clock.
//
// Each connection is a session with a thread of its own for completions; each completion sends the operation that takes its
// place, so there are always as many in flight as were asked for. A slot belongs to whoever sends or completes its operation,
// and latencies to the thread of their session: hence no locks.

#define _GNU_SOURCE
#define THREADED
#include <getopt.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zookeeper/zookeeper.h>

enum {
    keysPerDirectory = 1000,
    keysPerMulti = 100,
    pathSizeMax = 48,
    sessionTimeoutMillis = 10000,
    // Latencies: 64 buckets to each power of two, so that a percentile is less than 1.6 % off.
    bucketBits = 6,
    bucketCount = 64 << bucketBits,
};

typedef enum { modeWrite, modeRead, modeImport, modeProbe } Mode;

static struct {
    Mode mode;
    const char *endpoints;
    int connections, inFlight, valueSize;
    uint64_t keys;
    double seconds;
    bool isLinearizable;
} options = {.connections = 1, .inFlight = 1, .valueSize = 256, .keys = 10000, .seconds = 10, .isLinearizable = true};

typedef struct {
    zhandle_t *handle;
    uint64_t latencies[bucketCount];
} Session;

/// What a multi-operation needs until its completion.
typedef struct {
    uint64_t firstKey;
    int count;
    zoo_op_t operations[keysPerMulti];
    zoo_op_result_t results[keysPerMulti];
    char paths[keysPerMulti][pathSizeMax];
} Multi;

/// The place of one operation in flight, and what those that were there have come to.
typedef struct {
    Session *session;
    Multi *multi;
    uint64_t random, began, operations, errors;
} Slot;

static char *value;
static uint64_t deadline;
static atomic_uint_fast64_t nextImport;
static atomic_int slotsBusy;

static void die(const char *message) {
    fprintf(stderr, "zookeeper-load: %s\n", message);
    exit(1);
}

static void check(int code, const char *what) {
    if (code != ZOK) {
        fprintf(stderr, "zookeeper-load: %s: %s\n", what, zerror(code));
        exit(1);
    }
}

static uint64_t nanoseconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

// MARK: Latencies

static int bucket(uint64_t micros) {
    if (micros < 1 << bucketBits) return (int)micros;
    int shift = 63 - bucketBits - __builtin_clzll(micros);
    return ((shift + 1) << bucketBits) + (int)((micros >> shift) & ((1 << bucketBits) - 1));
}

/// The largest value that `bucket` puts there.
static uint64_t bucketTop(int index) {
    int shift = (index >> bucketBits) - 1;
    if (shift < 0) return (uint64_t)index;
    uint64_t mantissa = (1 << bucketBits) + (uint64_t)(index & ((1 << bucketBits) - 1));
    return ((mantissa + 1) << shift) - 1;
}

static uint64_t percentile(const uint64_t *latencies, uint64_t count, double share) {
    uint64_t rank = (uint64_t)(share * (double)count), seen = 0;
    if (rank >= count) rank = count ? count - 1 : 0;
    for (int index = 0; index < bucketCount; index++) {
        seen += latencies[index];
        if (seen > rank) return bucketTop(index);
    }
    return 0;
}

static void report(const Session *sessions, const Slot *slots, double seconds) {
    static uint64_t latencies[bucketCount];
    uint64_t operations = 0, errors = 0, count = 0;
    for (int number = 0; number < options.connections * options.inFlight; number++) {
        operations += slots[number].operations;
        errors += slots[number].errors;
    }
    for (int number = 0; number < options.connections; number++) {
        for (int index = 0; index < bucketCount; index++) {
            latencies[index] += sessions[number].latencies[index];
            count += sessions[number].latencies[index];
        }
    }
    printf("{\"operations\":%" PRIu64 ",\"seconds\":%.3f,\"operationsPerSecond\":%.1f,\"errors\":%" PRIu64, operations, seconds,
           (double)operations / seconds, errors);
    printf(",\"latencyMicros\":{\"p50\":%" PRIu64 ",\"p90\":%" PRIu64 ",\"p99\":%" PRIu64 ",\"p999\":%" PRIu64 ",\"max\":%" PRIu64
           "}}\n",
           percentile(latencies, count, 0.5), percentile(latencies, count, 0.9), percentile(latencies, count, 0.99),
           percentile(latencies, count, 0.999), percentile(latencies, count, 1));
}

// MARK: Operations

/// A thousand keys to a directory: a flat million would make each create dearer.
static void keyPath(uint64_t key, char path[pathSizeMax]) {
    snprintf(path, pathSizeMax, "/load/%05" PRIu64 "/%08" PRIu64, key / keysPerDirectory, key);
}

static uint64_t randomKey(Slot *slot) {
    // SplitMix64
    uint64_t mixed = slot->random += 0x9e3779b97f4a7c15;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return (mixed ^ (mixed >> 31)) % options.keys;
}

static void sendNext(Slot *slot);

static void finish(Slot *slot, int code, uint64_t count) {
    if (code == ZOK) {
        slot->operations += count;
        slot->session->latencies[bucket((nanoseconds(CLOCK_MONOTONIC) - slot->began) / 1000)]++;
    } else {
        slot->errors++;
    }
    sendNext(slot);
}

static void wasSet(int code, const struct Stat *stat, const void *slot) {
    (void)stat;
    finish((Slot *)slot, code, 1);
}

static void wasGot(int code, const char *found, int size, const struct Stat *stat, const void *slot) {
    (void)found, (void)size, (void)stat;
    finish((Slot *)slot, code, 1);
}

static void wasSynced(int code, const char *path, const void *slot) {
    // The answer to the get behind it tells of an error, too.
    (void)code, (void)path, (void)slot;
}

static void wasCreated(int code, const void *data) {
    Slot *slot = (Slot *)data;
    finish(slot, code, (uint64_t)slot->multi->count);
}

static int sendMulti(Slot *slot) {
    Multi *multi = slot->multi;
    uint64_t left = options.keys - multi->firstKey;
    multi->count = left < keysPerMulti ? (int)left : keysPerMulti;
    for (int index = 0; index < multi->count; index++) {
        keyPath(multi->firstKey + (uint64_t)index, multi->paths[index]);
        zoo_create_op_init(
            &multi->operations[index], multi->paths[index], value, options.valueSize, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
    }
    return zoo_amulti(slot->session->handle, multi->count, multi->operations, multi->results, wasCreated, slot);
}

static int sendOne(Slot *slot) {
    if (options.mode == modeImport) return sendMulti(slot);
    zhandle_t *handle = slot->session->handle;
    char path[pathSizeMax];
    keyPath(randomKey(slot), path);
    if (options.mode == modeWrite) return zoo_aset(handle, path, value, options.valueSize, -1, wasSet, slot);
    if (options.isLinearizable) {
        int code = zoo_async(handle, path, wasSynced, slot);
        if (code != ZOK) return code;
    }
    return zoo_aget(handle, path, 0, wasGot, slot);
}

/// Sends what takes the place of an operation that has ended, or lets the place go when it is time.
static void sendNext(Slot *slot) {
    slot->began = nanoseconds(CLOCK_MONOTONIC);
    bool isOver;
    if (options.mode == modeImport) {
        slot->multi->firstKey = atomic_fetch_add(&nextImport, keysPerMulti);
        isOver = slot->multi->firstKey >= options.keys;
    } else {
        isOver = slot->began >= deadline;
    }
    if (!isOver) {
        int code = sendOne(slot);
        if (code == ZOK) return;
        fprintf(stderr, "zookeeper-load: a session is of no use any more: %s\n", zerror(code));
        slot->errors++;
    }
    atomic_fetch_sub(&slotsBusy, 1);
}

// MARK: Sessions

static void ignoreEvent(zhandle_t *handle, int type, int state, const char *path, void *context) {
    (void)handle, (void)type, (void)state, (void)path, (void)context;
}

static zhandle_t *openSession(const char *endpoint) {
    zhandle_t *handle = zookeeper_init(endpoint, ignoreEvent, sessionTimeoutMillis, NULL, NULL, 0);
    if (handle == NULL) die("no session could be made");
    uint64_t until = nanoseconds(CLOCK_MONOTONIC) + 20000000000u;
    while (zoo_state(handle) != ZOO_CONNECTED_STATE) {
        if (nanoseconds(CLOCK_MONOTONIC) > until) die("no session within 20 s");
        usleep(1000);
    }
    return handle;
}

/// The sessions are spread over the endpoints in turn.
static void openSessions(Session *sessions) {
    char *copy = strdup(options.endpoints), *rest = copy, *names[16];
    int nameCount = 0;
    for (char *name; nameCount < 16 && (name = strsep(&rest, ",")) != NULL;) names[nameCount++] = name;
    for (int number = 0; number < options.connections; number++)
        sessions[number].handle = openSession(names[number % nameCount]);
    free(copy);
}

static void createIfMissing(zhandle_t *handle, const char *path) {
    int code = zoo_create(handle, path, "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
    if (code != ZNODEEXISTS) check(code, path);
}

static void createDirectories(zhandle_t *handle) {
    createIfMissing(handle, "/load");
    for (uint64_t directory = 0; directory * keysPerDirectory < options.keys; directory++) {
        char path[pathSizeMax];
        snprintf(path, sizeof path, "/load/%05" PRIu64, directory);
        createIfMissing(handle, path);
    }
}

static void load(Session *sessions) {
    int slotCount = options.connections * options.inFlight;
    Slot *slots = calloc((size_t)slotCount, sizeof *slots);
    if (options.mode == modeImport) createDirectories(sessions[0].handle);
    atomic_store(&slotsBusy, slotCount);
    uint64_t began = nanoseconds(CLOCK_MONOTONIC);
    deadline = began + (uint64_t)(options.seconds * 1e9);
    for (int number = 0; number < slotCount; number++) {
        Slot *slot = &slots[number];
        slot->session = &sessions[number % options.connections];
        slot->random = (uint64_t)number << 32;
        if (options.mode == modeImport) slot->multi = calloc(1, sizeof *slot->multi);
        sendNext(slot);
    }
    while (atomic_load(&slotsBusy) > 0) usleep(1000);
    report(sessions, slots, (double)(nanoseconds(CLOCK_MONOTONIC) - began) / 1e9);
}

static void probe(zhandle_t *handle) {
    setlinebuf(stdout);
    createIfMissing(handle, "/probe");
    for (;;) {
        uint64_t began = nanoseconds(CLOCK_REALTIME);
        int code = zoo_set(handle, "/probe", value, options.valueSize, -1);
        if (code == ZOK) printf("%" PRIu64 " %" PRIu64 "\n", began, nanoseconds(CLOCK_REALTIME));
        // Between connections a set fails at once.
        usleep(1000);
    }
}

static void usage(void) {
    fputs("usage: zookeeper-load write|read|import|probe --endpoints A,B,C [--connections C] [--in-flight N] [--seconds S]\n"
          "       [--value-size B] [--keys K] [--read-level linearizable|stale]\n", stderr);
    exit(2);
}

static void parse(int count, char **arguments) {
    static const char *modes[] = {"write", "read", "import", "probe"};
    static const struct option flags[] = {
        {"endpoints", required_argument, NULL, 'e'}, {"connections", required_argument, NULL, 'c'},
        {"in-flight", required_argument, NULL, 'f'}, {"seconds", required_argument, NULL, 's'},
        {"value-size", required_argument, NULL, 'v'}, {"keys", required_argument, NULL, 'k'},
        {"read-level", required_argument, NULL, 'l'}, {NULL, 0, NULL, 0},
    };
    int mode = -1;
    for (int index = 0; count > 1 && index < 4; index++)
        if (strcmp(arguments[1], modes[index]) == 0) mode = index;
    if (mode < 0) usage();
    options.mode = (Mode)mode;
    for (int flag; (flag = getopt_long(count - 1, arguments + 1, "", flags, NULL)) != -1;) {
        switch (flag) {
        case 'e': options.endpoints = optarg; break;
        case 'c': options.connections = atoi(optarg); break;
        case 'f': options.inFlight = atoi(optarg); break;
        case 's': options.seconds = atof(optarg); break;
        case 'v': options.valueSize = atoi(optarg); break;
        case 'k': options.keys = strtoull(optarg, NULL, 10); break;
        case 'l': options.isLinearizable = strcmp(optarg, "stale") != 0; break;
        default: usage();
        }
    }
    bool isSane = options.endpoints && options.connections > 0 && options.inFlight > 0 && options.keys > 0
        && options.valueSize >= 0 && options.seconds > 0;
    if (!isSane) usage();
}

int main(int count, char **arguments) {
    parse(count, arguments);
    zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
    value = malloc((size_t)options.valueSize + 1);
    for (int index = 0; index < options.valueSize; index++) value[index] = (char)rand();
    Session *sessions = calloc((size_t)options.connections, sizeof *sessions);
    openSessions(sessions);
    if (options.mode == modeProbe) probe(sessions[0].handle);
    load(sessions);
    // The sessions end with the process' connections: closing a hundred of them in turn would be counted with the load.
    return 0;
}
