import Client
import Foundation
import Testing

extension ServerTests {
    /// A disk that does not sync, by a library that stands between the node and libc.
    @Suite struct FailingSyncTests {
        /// Counts the calls in one file; while another is there, they fail.
        private static let source = """
            #define _GNU_SOURCE
            #include <dlfcn.h>
            #include <errno.h>
            #include <fcntl.h>
            #include <stdlib.h>
            #include <unistd.h>
            static int synced(const char *name, int descriptor) {
                int count = open(getenv("QUORATE_TEST_COUNT"), O_WRONLY | O_CREAT | O_APPEND, 0600);
                if (count >= 0) { if (write(count, "s", 1) < 0) {} close(count); }
                if (access(getenv("QUORATE_TEST_FAIL"), F_OK) == 0) { errno = EIO; return -1; }
                int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
                return real(descriptor);
            }
            int fdatasync(int descriptor) { return synced("fdatasync", descriptor); }
            int fsync(int descriptor) { return synced("fsync", descriptor); }
            """

        private func library(in directory: String) async throws -> String {
            let (text, library) = ("\(directory)/shim.c", "\(directory)/shim.so")
            try Data(Self.source.utf8).write(to: URL(filePath: text))
            let compiler = try ChildProcess(
                "/usr/bin/cc", ["-shared", "-fPIC", "-o", library, text, "-ldl"], outputPath: "\(directory)/cc.log")
            #expect(try await compiler.waitUntilEnded() == .exited(0))
            return library
        }

        private func size(_ path: String) -> Int { (try? Data(contentsOf: URL(filePath: path)).count) ?? 0 }

        @Test(
            "a sync fails: the process ends within a second, is not tried again, and nothing acknowledged is lost",
            .timeLimit(.minutes(2)))
        func stopsAtOnce() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                try await client.put("before", "1")
                try await cluster.waitUntilWhole()
                let library = try await library(in: cluster.directory)
                let (count, fail) = ("\(cluster.directory)/count", "\(cluster.directory)/fail")
                let leader = try await cluster.leader().name
                for name in cluster.names {
                    #expect(try await cluster.stop(name) == [.exited(0)])
                    try cluster.start(
                        name,
                        environment: [
                            "LD_PRELOAD": library, "QUORATE_TEST_COUNT": "\(count)-\(name)",
                            "QUORATE_TEST_FAIL": "\(fail)-\(name)",
                        ])
                    try await cluster.waitUntilWhole()
                }
                for victim in [try await cluster.leader().name, leader] {
                    let workload = Workload(cluster, writers: 2)
                    try await eventually("the load is on") { workload.acknowledged > 50 }
                    #expect(size("\(count)-\(victim)") > 0, "the shim was not called")
                    #expect(FileManager.default.createFile(atPath: "\(fail)-\(victim)", contents: nil))
                    let process = try #require(cluster[victim].process)
                    let clock = ContinuousClock()
                    let begun = clock.now
                    let ending = try await process.waitUntilEnded()
                    // The writers see to it that the next sync is due at once.
                    #expect(clock.now - begun < .seconds(1) && ending == .exited(1), "\(cluster.logTail(victim))")
                    #expect(try cluster.log(victim).contains("sync"), "\(cluster.logTail(victim))")
                    try FileManager.default.removeItem(atPath: "\(fail)-\(victim)")
                    try cluster.start(victim)
                    try await cluster.waitUntilWhole()
                    try await Workload.check(await workload.stop(), on: cluster)
                }
                await client.shutdown()
            }
        }
    }
}
