// Preloaded into a node: while the file that QUORATE_TORTURE_SYNC names exists, nothing that it writes reaches the disk.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int is_failing(void) {
    const char *path = getenv("QUORATE_TORTURE_SYNC");
    return path != NULL && access(path, F_OK) == 0;
}

static int synced(const char *name, int descriptor) {
    if (is_failing()) {
        errno = EIO;
        return -1;
    }
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return real(descriptor);
}

int fdatasync(int descriptor) { return synced("fdatasync", descriptor); }
int fsync(int descriptor) { return synced("fsync", descriptor); }
