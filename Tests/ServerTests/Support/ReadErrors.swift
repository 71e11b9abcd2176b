import Foundation

/// A library that is preloaded into a node: its disk does not give back what is in some files.
///
/// While the file `control` exists and says `PATTERN SKIP COUNT`, reads of files whose path contains PATTERN fail with EIO:
/// not the first SKIP of them, then COUNT. Each that failed adds a byte to `control.failed`, so a test can prove that the
/// library was there.
struct ReadErrors {
    let control: String
    private let library: String

    init(in directory: String) async throws {
        control = "\(directory)/read-errors"
        library = "\(directory)/read-errors.so"
        let source = "\(directory)/read-errors.c"
        try Self.code.write(toFile: source, atomically: true, encoding: .utf8)
        let compilers = ["/usr/bin/cc", "/usr/bin/clang", "/usr/bin/gcc"]
        guard let compiler = compilers.first(where: { FileManager.default.isExecutableFile(atPath: $0) }) else {
            throw TestFailure("there is no C compiler among \(compilers)")
        }
        let built = try await Command.run(
            compiler, ["-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], in: directory, timeout: .seconds(60))
        guard built.ending == .exited(0) else { throw TestFailure("\(compiler): \(built.errors)") }
    }

    var environment: [String: String] { ["LD_PRELOAD": library, "QUORATE_READ_ERRORS": control] }

    func begin(_ pattern: String, skipping skipped: Int = 0, count: Int) throws {
        try? FileManager.default.removeItem(atPath: "\(control).failed")
        try "\(pattern) \(skipped) \(count)".write(toFile: control, atomically: true, encoding: .utf8)
    }

    /// - Returns: how many reads failed.
    func end() -> Int {
        try? FileManager.default.removeItem(atPath: control)
        return failed
    }

    var failed: Int { (try? FileManager.default.attributesOfItem(atPath: "\(control).failed")[.size] as? Int) ?? 0 }

    private static let code = """
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <errno.h>
        #include <fcntl.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <sys/stat.h>
        #include <unistd.h>

        static long seen = 0;
        static long began = 0;

        static int fails(int descriptor) {
            const char *control = getenv("QUORATE_READ_ERRORS");
            struct stat status;
            if (control == NULL || stat(control, &status) != 0) return 0;
            FILE *file = fopen(control, "r");
            if (file == NULL) return 0;
            char pattern[256];
            long skip = 0, count = 0;
            int fields = fscanf(file, "%255s %ld %ld", pattern, &skip, &count);
            fclose(file);
            if (fields != 3) return 0;
            char link[64], path[4096];
            snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
            ssize_t size = readlink(link, path, sizeof path - 1);
            if (size < 0) return 0;
            path[size] = 0;
            if (strstr(path, pattern) == NULL) return 0;
            long start = status.st_mtim.tv_sec * 1000000000L + status.st_mtim.tv_nsec;
            if (__atomic_exchange_n(&began, start, __ATOMIC_SEQ_CST) != start) __atomic_store_n(&seen, 0, __ATOMIC_SEQ_CST);
            long number = __atomic_fetch_add(&seen, 1, __ATOMIC_SEQ_CST);
            if (number < skip || number >= skip + count) return 0;
            char tally[4200];
            snprintf(tally, sizeof tally, "%s.failed", control);
            int out = open(tally, O_WRONLY | O_CREAT | O_APPEND, 0600);
            if (out >= 0) {
                if (write(out, "x", 1) != 1) abort();
                close(out);
            }
            errno = EIO;
            return 1;
        }

        ssize_t pread(int descriptor, void *buffer, size_t size, off_t offset) {
            static ssize_t (*real)(int, void *, size_t, off_t);
            if (real == NULL) real = (ssize_t (*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread");
            return fails(descriptor) ? -1 : real(descriptor, buffer, size, offset);
        }

        ssize_t pread64(int descriptor, void *buffer, size_t size, off64_t offset) {
            static ssize_t (*real)(int, void *, size_t, off64_t);
            if (real == NULL) real = (ssize_t (*)(int, void *, size_t, off64_t))dlsym(RTLD_NEXT, "pread64");
            return fails(descriptor) ? -1 : real(descriptor, buffer, size, offset);
        }
        """
}
