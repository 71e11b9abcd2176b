// Tells ThreadSanitizer of the locks that it cannot see; preloaded by ops/sanitize. Where several wait for a `Mutex`, it is taken and
// handed over in functions of a library that is not instrumented (the short ways are inlined, and seen). Without this, correct code is
// reported as soon as the machine is busy.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>

// None in processes that are not instrumented, such as the one that starts the tests.
__attribute__((weak)) void __tsan_acquire(void *address);
__attribute__((weak)) void __tsan_release(void *address);

static void acquire(void *address) {
    if (__tsan_acquire) __tsan_acquire(address);
}

static void release(void *address) {
    if (__tsan_release) __tsan_release(address);
}

static void *next(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

#define SWIFT __attribute__((swiftcall))
#define SELF __attribute__((swift_context))
// The function itself, looked up once; who comes first does not matter.
#define REAL(type, name)                    \
    static type real;                       \
    if (!real) real = (type)next(name)

#define LOCK_SLOW "$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF"
#define UNLOCK_SLOW "$s15Synchronization12_MutexHandleV11_unlockSlowyyF"

typedef SWIFT void (*lock_function)(uint32_t thread, SELF void *handle);
typedef SWIFT void (*unlock_function)(SELF void *handle);
SWIFT void lock_slow(uint32_t thread, SELF void *handle) __asm__(LOCK_SLOW);
SWIFT void unlock_slow(SELF void *handle) __asm__(UNLOCK_SLOW);

SWIFT void lock_slow(uint32_t thread, SELF void *handle) {
    REAL(lock_function, LOCK_SLOW);
    real(thread, handle);
    acquire(handle);
}

SWIFT void unlock_slow(SELF void *handle) {
    REAL(unlock_function, UNLOCK_SLOW);
    release(handle);
    real(handle);
}
