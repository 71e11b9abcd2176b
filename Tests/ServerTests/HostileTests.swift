import Client
import Foundation
import Testing

extension ServerTests {
    /// Bytes that are not the protocol, and what a client at the same node notices of them.
    @Suite struct HostileTests {
        private static let rubbishSize = 1 << 20
        private static let frameCount = 10_000

        @Test(
            "1 MiB of rubbish and 10,000 malformed frames at both ports: a client at work notices nothing",
            .timeLimit(.minutes(2)))
        func rubbishHurtsNobody() async throws {
            try await withCluster { cluster in
                let before = try await cluster.leader()
                let workload = Workload(cluster, writers: 2)
                try await workload.waitForProgress(10)
                for node in cluster.nodes {
                    for address in [node.client, node.peer] {
                        try await onThread { Self.throwRubbish(at: address) }
                    }
                }
                // The leader has the most to lose.
                let target = cluster[before.name]
                for (address, isPeer) in [(target.client, false), (target.peer, true)] {
                    try await onThread { try Self.throwFrames(Self.frameCount / 2, at: address, isPeerPort: isPeer) }
                }
                let clientPort = target.client
                try await onThread { try Self.throwBodies(at: clientPort) }
                try await workload.waitForProgress(10)

                let reports = await workload.stop()
                try await Workload.check(reports, on: cluster)
                let slowest = reports.map(\.slowest).max() ?? .zero
                let count = reports.reduce(0) { $0 + $1.acknowledged }
                print("under rubbish: \(count) writes acknowledged, the slowest after \(slowest.milliseconds)")
                let after = try await cluster.leader()
                #expect(after.name == before.name)
                #expect(after.term == before.term, "the rubbish has cost an election")
                #expect(slowest < .seconds(2))
            }
        }

        /// As much as the node takes before it hangs up.
        private static func throwRubbish(at address: String) {
            var random = SystemRandomNumberGenerator()
            var left = rubbishSize
            while left > 0 {
                guard let socket = try? RawSocket(address, timeout: .seconds(5)) else { return }
                while left > 0 {
                    let chunk = (0..<2_048).flatMap { _ in withUnsafeBytes(of: random.next()) { Array($0) } }
                    left -= chunk.count
                    do { try socket.send(chunk) } catch { break }
                }
            }
        }

        /// Each frame on a connection of its own, which the node must end.
        private static func throwFrames(_ count: Int, at address: String, isPeerPort: Bool) throws {
            let sound = isPeerPort ? peerHello() : clientHello()
            for number in 0..<count {
                let frame = malformed(sound, number)
                let socket = try RawSocket(address, timeout: .seconds(10))
                // The node may have hung up before the last byte.
                do { try socket.send(frame) } catch { continue }
                try socket.waitUntilClosed()
            }
        }

        /// Every way in which a frame can be wrong, in turn.
        private static func malformed(_ sound: [UInt8], _ number: Int) -> [UInt8] {
            var frame = sound
            switch number % 8 {
            case 0: frame[Int.random(in: 16..<frame.count)] ^= 1 << UInt8.random(in: 0..<8)
            case 1: frame.replaceSubrange(0..<4, with: [UInt8](repeating: 0xFF, count: 4))
            case 2: frame.replaceSubrange(0..<4, with: [0, 0, 0, 0])
            case 3: frame[4] = 2
            case 4: frame[5] |= 0x80
            case 5: return cut(sound)
            case 6: return Frame.bytes(kind: UInt16.random(in: 2...8), id: 1, body: Bytes(randomBytes(40)))
            default: return Frame.bytes(kind: UInt16.random(in: 300...60_000), id: 1, body: Bytes(randomBytes(3)))
            }
            return frame
        }

        /// A hello whose body is shorter than its fields, with a checksum that is right.
        private static func cut(_ sound: [UInt8]) -> [UInt8] {
            let kind = UInt16(sound[6]) | UInt16(sound[7]) << 8
            let body = Array(sound[16..<sound.count - 4].prefix(Int.random(in: 0..<8)))
            return Frame.bytes(kind: kind, id: 1, body: Bytes(body))
        }

        /// After a sound hello: commands and queries whose frames are right and whose bodies are not.
        private static func throwBodies(at address: String) throws {
            for kind: UInt16 in [2, 3, 4] {
                for size in 0..<100 {
                    guard let client = try? RawClient(address) else { throw TestFailure("\(address) takes nobody any more") }
                    // An answer that refuses it, or the end of the connection.
                    if let answer = try? client.request(kind, Bytes(randomBytes(size))), answer.code == 0 {
                        #expect(kind != RawClient.Kind.mutate, "\(size) random bytes were taken for a command")
                    }
                }
            }
        }

        private static func randomBytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8.random(in: 0...255) } }

        private static func clientHello() -> [UInt8] {
            var body = Bytes()
            body.append(UInt16(1))
            body.append(UInt16(1))
            body.append(UInt8(0))
            body.append16(Array("rubbish".utf8))
            body.append16(Array("1".utf8))
            return Frame.bytes(kind: RawClient.Kind.hello, id: 1, body: body)
        }

        private static func peerHello() -> [UInt8] {
            var body = Bytes()
            body.append(UInt16(1))
            body.append(UInt16(1))
            body.append(UInt8(1))
            for _ in 0..<3 { body.append(UInt64.random(in: 1...UInt64.max)) }
            body.append(UInt64.random(in: 1...UInt64.max))
            body.append16(Array("n1".utf8))
            body.append(UInt64(0))
            for text in ["127.0.0.1:1", "127.0.0.1:2", "1"] { body.append16(Array(text.utf8)) }
            body.append(UInt32(1))
            body.append(UInt64(0))
            return Frame.bytes(kind: 256, id: 1, body: body)
        }

        @Test("connections that say nothing are closed, and do not keep others out", .timeLimit(.minutes(1)))
        func silentConnections() async throws {
            try await withCluster(nodes: 1) { cluster in
                let address = cluster["n1"].client
                try await onThread {
                    let silent = try (0..<50).map { _ in try RawSocket(address, timeout: .seconds(15)) }
                    #expect(try RawClient(address).get("a") == nil)
                    for socket in silent { try socket.waitUntilClosed() }
                }
            }
        }
    }
}

/// Runs what blocks on a thread of its own.
func onThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread { continuation.resume(with: Result(catching: body)) }
    }
}
