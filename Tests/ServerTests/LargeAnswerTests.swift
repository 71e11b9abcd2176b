import Client
import Foundation
import Testing

extension ServerTests {
    /// Small requests with large answers.
    @Suite struct LargeAnswerTests {
        private static let mebibyte = 1_024 * 1_024
        private static let requestCount = 1_000
        private static let growthMax = 256 * mebibyte

        @Test(
            "a thousand reads of a value of 4 MiB whose answers nobody takes cost a node no memory, and others nothing",
            .timeLimit(.minutes(1)))
        func unreadAnswers() async throws {
            try await withCluster(nodes: 1) { cluster in
                let client = cluster.client()
                let value = [UInt8](repeating: 7, count: 4 * Self.mebibyte - 100)
                _ = try await client.put(Array("large".utf8), value)
                #expect(try await client.get("large")?.value == value)
                let before = try Self.residentSize(of: cluster.process("n1"))

                let address = cluster["n1"].client
                let greedy = try await onThread {
                    let greedy = try GreedyReader(address)
                    try greedy.ask(for: "large", count: Self.requestCount)
                    return greedy
                }
                var largest = before
                for _ in 0..<20 {
                    try await Task.sleep(for: .milliseconds(100))
                    largest = max(largest, try Self.residentSize(of: cluster.process("n1")))
                }
                print("1,000 unread answers of 4 MiB: \((largest - before) / Self.mebibyte) MiB more than before")
                #expect(largest - before < Self.growthMax)
                #expect(try await client.get("large", timeout: .seconds(5))?.value == value)

                // What was held back comes when it is read, in order and whole.
                let answered = try await onThread { try greedy.read(16) }
                #expect(answered == Array(greedy.requests.prefix(16)))
                largest = max(largest, try Self.residentSize(of: cluster.process("n1")))
                #expect(largest - before < Self.growthMax)
                await client.shutdown()
            }
        }

        /// Bytes of a process in memory.
        private static func residentSize(of process: ChildProcess) throws -> Int {
            let status = try String(contentsOfFile: "/proc/\(process.processID)/status", encoding: .utf8)
            let line = status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
            guard let kibibytes = line?.split(whereSeparator: { !$0.isNumber }).first.flatMap({ Int($0) }) else {
                throw TestFailure("no VmRSS in \(status)")
            }
            return kibibytes * 1_024
        }
    }

    /// Asks for much at once and reads later. Used on one thread after the other.
    private final class GreedyReader: @unchecked Sendable {
        private let client: RawClient
        private(set) var requests: [UInt64] = []

        init(_ address: String) throws { client = try RawClient(address) }

        func ask(for key: String, count: Int) throws {
            let body = RawClient.getBody(key, isStale: false)
            for _ in 0..<count { requests.append(try client.send(RawClient.Kind.query, body)) }
        }

        /// The requests whose answers come next, each of them a success.
        func read(_ count: Int) throws -> [UInt64] {
            try requests.prefix(count).map { request in
                let reply = try client.receive(request)
                guard reply.code == 0 else { throw RefusedRequest(code: reply.code) }
                return request
            }
        }
    }
}
