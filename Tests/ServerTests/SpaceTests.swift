import Client
import Foundation
import Glibc
import Testing

extension ServerTests {
    /// Nodes whose data lies on small file systems of their own, which fill up.
    @Suite(.enabled(if: SmallDisk.isPossible, "needs the right to mount a tmpfs")) struct SpaceTests {
        private static let flags = ["--segment-size", "1MiB", "--log-max", "8MiB", "--disk-reserve", "16MiB"]

        private func withSmallDisks(_ body: (Cluster, [String: SmallDisk]) async throws -> Void) async throws {
            var disks: [String: SmallDisk] = [:]
            defer { for disk in disks.values { disk.unmount() } }
            try await withCluster(
                flags: Self.flags,
                prepare: { cluster in
                    for name in cluster.names { disks[name] = try SmallDisk(at: cluster[name].directory, megabytes: 96) }
                },
                { cluster in try await body(cluster, disks) })
        }

        private func isLow(_ cluster: Cluster, _ name: String) async throws -> Bool {
            await cluster.statuses([name]).first?.state == "diskLow"
        }

        @Test("a full disk at one follower: writes go on, and it is well again without a restart", .timeLimit(.minutes(2)))
        func followerSteps() async throws {
            try await withSmallDisks { cluster, disks in
                let client = cluster.client()
                let follower = try await cluster.followers()[0]
                try disks[follower]!.fill(leavingMegabytes: 6)
                try await eventually("\(follower) is low") { try await isLow(cluster, follower) }
                // Below half of the reserve it is said to be full.
                let told = try await eventually("\(follower) tells of it") {
                    await cluster.statuses([follower]).first?.alarms.first
                }
                #expect(told.name == "diskFull" && told.isActive && told.detail.contains(" MiB free"), "\(told)")
                // More than what its disk has left.
                for number in 0..<60 { try await client.put("follower/\(number)", String(repeating: "v", count: 200_000)) }
                try disks[follower]!.empty()
                try await eventually("\(follower) has space") { try await !isLow(cluster, follower) }
                try await cluster.waitUntilWhole()
                try await eventually("no alarm stands") {
                    await cluster.statuses(cluster.names).allSatisfy { $0.alarms.isEmpty }
                }
                await client.shutdown()
            }
        }

        @Test("a full disk at the leader: another leads, and no write is refused", .timeLimit(.minutes(2)))
        func leaderHandsOver() async throws {
            try await withSmallDisks { cluster, disks in
                let leader = try await cluster.leader().name
                let workload = Workload(cluster, writers: 4)
                try disks[leader]!.fill(leavingMegabytes: 6)
                try await eventually("another leads") {
                    try await cluster.leader().name != leader
                }
                try await workload.waitForProgress(200)
                #expect(try cluster.process(leader).poll() == nil)
                try disks[leader]!.empty()
                try await eventually("\(leader) has space") { try await !isLow(cluster, leader) }
                try await Workload.check(await workload.stop(), on: cluster)
            }
        }

        @Test(
            "no space on any node: writes are refused, reads and deletes go on, and freeing space is enough",
            .timeLimit(.minutes(2)))
        func allAreFull() async throws {
            try await withSmallDisks { cluster, disks in
                let client = cluster.client()
                try await client.put("kept", "value")
                try await client.put("gone", "value")
                for disk in disks.values { try disk.fill(leavingMegabytes: 12) }
                for name in cluster.names { try await eventually("\(name) is low") { try await isLow(cluster, name) } }
                try await eventually("a write is refused") {
                    do throws(ClientError) {
                        try await client.put("refused", "value", timeout: .seconds(1))
                        return false
                    } catch {
                        return error.code == .diskFull
                    }
                }
                try await eventually("the leader tells of it") {
                    try await cluster.leader().alarms.contains { $0.name == "writesRefused" }
                }
                let raw = try RawClient(cluster[try await cluster.leader().name].client)
                #expect(try raw.get("kept")?.value == "value")
                try await client.delete("gone")
                for disk in disks.values { try disk.empty() }
                for name in cluster.names { try await eventually("\(name) has space") { try await !isLow(cluster, name) } }
                // The leader hears of the others' space a little later than they see it.
                try await eventually("a write is taken again") {
                    do throws(ClientError) {
                        try await client.put("after", "value")
                        return true
                    } catch {
                        guard error.code == .diskFull else { throw error }
                        return false
                    }
                }
                for name in cluster.names { #expect(try cluster.process(name).poll() == nil) }
                await client.shutdown()
            }
        }
    }
}

/// A tmpfs of its own size at a directory.
final class SmallDisk {
    static let isPossible: Bool = {
        guard let directory = try? Scratch.makeDirectory(), let disk = try? SmallDisk(at: directory, megabytes: 1) else {
            return false
        }
        disk.unmount()
        return true
    }()

    private let directory: String

    init(at directory: String, megabytes: Int) throws {
        self.directory = directory
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        guard mount("tmpfs", directory, "tmpfs", 0, "size=\(megabytes)m,mode=0700") == 0 else {
            throw TestFailure("cannot mount a tmpfs at \(directory): \(String(cString: strerror(errno)))")
        }
    }

    private var filler: String { "\(directory)/filler" }

    func fill(leavingMegabytes left: Int) throws {
        var values = statvfs()
        guard statvfs(directory, &values) == 0 else { throw TestFailure("statvfs: \(errno)") }
        let free = Int(values.f_bavail) * Int(values.f_frsize)
        let descriptor = open(filler, O_WRONLY | O_CREAT, 0o600)
        defer { close(descriptor) }
        guard posix_fallocate(descriptor, 0, max(1, free - left * 1_024 * 1_024)) == 0 else {
            throw TestFailure("cannot fill \(directory)")
        }
    }

    func empty() throws { try FileManager.default.removeItem(atPath: filler) }

    func unmount() { _ = umount2(directory, Int32(MNT_DETACH)) }
}
