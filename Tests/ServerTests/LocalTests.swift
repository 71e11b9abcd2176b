import Client
import Foundation
import Glibc
import Testing

extension ServerTests {
    /// `quorate local`, whose output other programs read.
    @Suite struct LocalTests {
        private struct Ready: Decodable {
            struct Node: Decodable {
                var name: String
                var pid: pid_t
                var client: String
                var peer: String
                var http: String?
            }
            var ready: Bool
            var endpoints: [String]
            var nodes: [Node]
        }

        /// One run in a directory of its own.
        private struct Run {
            let process: ChildProcess
            let ready: Ready

            init(_ directory: String, basePort: Int?, further: [String] = []) async throws {
                let name = UUID().uuidString
                let ports = basePort.map { ["--base-port", "\($0)"] } ?? []
                let process = try ChildProcess(
                    try Binary.path(), ["local", "--data", "\(directory)/data", "--json"] + ports + further,
                    outputPath: "\(directory)/\(name).out", errorPath: "\(directory)/\(name).err")
                self.process = process
                ready = try await eventually("local is ready", within: .seconds(30)) {
                    if let ending = process.poll() {
                        let errors = (try? String(contentsOfFile: "\(directory)/\(name).err", encoding: .utf8)) ?? ""
                        throw TestFailure("local ended: \(ending) \(process.output)\(errors)")
                    }
                    guard let line = process.output.split(separator: "\n").first, process.output.contains("\n") else {
                        return nil
                    }
                    return try JSONDecoder().decode(Ready.self, from: Data(line.utf8))
                }
                #expect(process.output.split(separator: "\n").count == 1, "one line and no more: \(process.output)")
            }

            /// Not even a zombie is left of any node.
            func expectNobodyLeft() async throws {
                for node in ready.nodes {
                    try await eventually("\(node.name) is gone") { kill(node.pid, 0) != 0 && errno == ESRCH }
                }
            }
        }

        private func withDirectory(_ body: (String) async throws -> Void) async throws {
            let directory = try Scratch.makeDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            try await body(directory)
        }

        @Test(
            "one line of JSON when there is a leader; Ctrl-C stops all; run again, everything is there",
            .timeLimit(.minutes(1)))
        func contract() async throws {
            try await withDirectory { directory in
                let basePort = try Ports.freeBase(3, offset: 100)
                let first = try await Run(directory, basePort: basePort, further: ["--nodes", "3"])
                #expect(first.ready.ready)
                #expect(first.ready.endpoints == (0..<3).map { "127.0.0.1:\(basePort + $0)" })
                #expect(first.ready.nodes.map(\.name) == ["n1", "n2", "n3"])
                #expect(first.ready.nodes.map(\.client) == first.ready.endpoints)
                #expect(first.ready.nodes.allSatisfy { $0.http == nil })
                #expect(first.ready.nodes.map(\.peer) == (0..<3).map { "127.0.0.1:\(basePort + 100 + $0)" })
                for node in first.ready.nodes { #expect(kill(node.pid, 0) == 0) }

                let endpoints = first.ready.endpoints.joined(separator: ",")
                let binary = try Binary.path()
                let put = try await Command.run(binary, ["put", "hello", "world", "--endpoints", endpoints], in: directory)
                #expect(put.ending == .exited(0), "\(put.errors)")
                first.process.send(SIGINT)
                #expect(try await first.process.waitUntilEnded() == .exited(0))
                try await first.expectNobodyLeft()

                // Nodes and ports are what the directory was made with.
                let second = try await Run(directory, basePort: nil, further: ["--http"])
                #expect(second.ready.endpoints == first.ready.endpoints)
                #expect(second.ready.nodes.map(\.http) == (0..<3).map { "127.0.0.1:\(basePort + 200 + $0)" })
                for node in second.ready.nodes {
                    #expect(try await Page.get("/livez", from: node.http ?? "").status == 200)
                }
                let get = try await Command.run(binary, ["get", "hello", "--endpoints", endpoints], in: directory)
                #expect(get.ending == .exited(0))
                #expect(get.output.contains("world"))
                second.process.send(SIGTERM)
                #expect(try await second.process.waitUntilEnded() == .exited(0))
                try await second.expectNobodyLeft()
            }
        }

        @Test(
            "a node that ends is named; with a majority gone local ends with 1; killed, it leaves no node behind",
            .timeLimit(.minutes(1)))
        func endings() async throws {
            try await withDirectory { directory in
                let run = try await Run(directory, basePort: try Ports.freeBase(3, offset: 100))
                kill(run.ready.nodes[0].pid, SIGKILL)
                let client = MetadataClient(MetadataClientConfiguration(endpoints: run.ready.endpoints))
                try await client.put("a", "1", timeout: .seconds(20))
                #expect(run.process.poll() == nil)
                await client.shutdown()
                kill(run.ready.nodes[1].pid, SIGKILL)
                #expect(try await run.process.waitUntilEnded() == .exited(1))
                try await run.expectNobodyLeft()

                let again = try await Run(directory, basePort: nil)
                try await again.process.killAndWait()
                try await again.expectNobodyLeft()
            }
        }

        @Test(
            "status, put, get, list, delete and txn answer in JSON with the exit codes that scripts rely on",
            .timeLimit(.minutes(1)))
        func commands() async throws {
            try await withCluster { cluster in
                let endpoints = cluster.endpoints.joined(separator: ",")
                func run(_ arguments: String...) async throws -> (code: ChildProcess.Ending, json: [String: Any], text: String) {
                    let result = try await cluster.run(arguments + ["--json", "--endpoints", endpoints])
                    let object = try? JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [String: Any]
                    return (result.ending, object ?? [:], result.output + result.errors)
                }
                let status = try await run("status")
                #expect(status.code == .exited(0), "\(status.text)")
                let nodes = status.json["nodes"] as? [[String: Any]] ?? []
                #expect(nodes.count == 3)
                #expect(nodes.count { $0["role"] as? String == "leader" } == 1)
                #expect(nodes.allSatisfy { $0["state"] as? String == "ok" && $0["reachable"] as? Bool == true })
                #expect(status.json["leader"] as? String == (try await cluster.leader().name))

                let put = try await run("put", "a", "1")
                #expect(put.code == .exited(0))
                let revision = try #require(put.json["revision"] as? Int)
                let conflict = try await run("put", "a", "2", "--if-revision", "0")
                #expect(conflict.code == .exited(1))
                #expect(conflict.json["error"] as? String == "conflict")
                #expect(conflict.json["currentRevision"] as? Int == revision)
                let get = try await run("get", "a")
                #expect(get.json["value"] as? String == "1")
                #expect(get.json["revision"] as? Int == revision)
                let missing = try await run("get", "b")
                #expect(missing.code == .exited(1))
                #expect(missing.json["found"] as? Bool == false)
                #expect(try await run("list", "a").json["key"] as? String == "a")
                #expect(try await run("delete", "a").code == .exited(0))
                #expect(try await run("get", "a").code == .exited(1))
                #expect(try await run("put", "a").code == .exited(2))

                let leader = try await cluster.leader().name
                let others = cluster.names.filter { $0 != leader }
                try await cluster.kill(others)
                try await eventually("status sees that there is no quorum") {
                    let lost = try await run("status", "--timeout", "1s")
                    guard lost.code == .exited(1) else { return false }
                    #expect(lost.json["leader"] is NSNull, "\(lost.text)")
                    return true
                }
            }
        }
    }
}
