import Foundation
import Testing

/// Runs the program against a cluster of its own: what scripts rely on, to the letter.
@Suite("The contract of the command line", .serialized, .timeLimit(.minutes(3)))
struct ContractTests {
    @Test("Every command keeps its JSON and its exit code")
    func recordsOfAWholeCluster() async throws {
        let cluster = try LocalProcess()
        defer { cluster.stop() }
        let nodes = try #require(cluster.ready["nodes"] as? [[String: Any]])
        #expect(cluster.ready["ready"] as? Bool == true)
        #expect(nodes.map { $0["name"] as? String } == ["n1", "n2", "n3"])
        #expect(nodes.allSatisfy { ($0["pid"] as? Int ?? 0) > 0 && $0["client"] is String && $0["peer"] is String })

        let put = try cluster.quorate("put", "k", "v", "--json")
        let revision = try #require(put.object["revision"] as? Int)
        #expect(put.text == "{\"revision\":\(revision)}\n")
        #expect(
            try cluster.quorate("get", "k", "--json") == (
                0, "{\"key\":\"k\",\"value\":\"v\",\"revision\":\(revision)}\n"
            ))
        #expect(try cluster.quorate("get", "k") == (0, "v\n"))
        #expect(try cluster.quorate("get", "none", "--json") == (1, "{\"key\":\"none\",\"found\":false}\n"))

        let conflict = "{\"error\":\"conflict\",\"currentRevision\":\(revision)}\n"
        #expect(try cluster.quorate("put", "k", "x", "--if-revision", "0", "--json") == (1, conflict))
        #expect(try cluster.quorate("delete", "k", "--if-revision", "\(revision + 9)", "--json") == (1, conflict))
        let second = try cluster.quorate("put", "k", "w", "--if-revision", "\(revision)", "--json")
        #expect(second.code == 0)

        let bytes = try cluster.quorate("put", "b", "-", "--json", input: Data([0xFF, 0x00]))
        #expect(
            try cluster.quorate("get", "b", "--json").text.hasPrefix("{\"key\":\"b\",\"base64\":\"/wA=\",\"revision\":")
        )
        #expect(bytes.code == 0)

        let list = try cluster.quorate("list", "", "--json").text.split(separator: "\n")
        #expect(list.count == 2)
        #expect(list.first?.hasPrefix("{\"key\":\"b\",\"base64\":\"/wA=\",\"revision\":") == true)
        #expect(try cluster.quorate("list", "", "--keys-only", "--limit", "1").text == "b\n")
        #expect(try cluster.quorate("list", "", "--count", "--json").text == "{\"count\":2}\n")

        let transaction =
            #"{"if":[{"key":"lock","exists":false}],"then":[{"put":{"key":"lock","value":"me"}},{"get":{"key":"k"}}]}"#
        let taken = try cluster.quorate("txn", "-", "--json", input: Data(transaction.utf8))
        #expect(taken.code == 0)
        #expect(taken.object["succeeded"] as? Bool == true)
        #expect((taken.object["results"] as? [[String: Any]])?.last?["value"] as? String == "w")
        let refused = try cluster.quorate("txn", "-", "--json", input: Data(transaction.utf8))
        #expect(refused.code == 0)
        #expect(refused.object["succeeded"] as? Bool == false)
        #expect((refused.object["results"] as? [Any])?.isEmpty == true)
        #expect(try cluster.quorate("txn", "-", input: Data(#"{"of":[]}"#.utf8)).code == 2)

        for key in ["p/1", "p/2", "q"] { _ = try cluster.quorate("put", key, "v") }
        let several = try cluster.quorate("delete", "p/", "--prefix", "--json")
        #expect(several.object["deleted"] as? Int == 2)
        #expect(try cluster.quorate("get", "q").code == 0)
        #expect(try cluster.quorate("delete", "", "--prefix").code == 2)
        #expect(try cluster.quorate("delete", "q", "--prefix", "--if-revision", "1").code == 2)
        _ = try cluster.quorate("delete", "q")
        let deleted = try cluster.quorate("delete", "k", "--json")
        #expect(deleted.text == "{\"revision\":\(try #require(deleted.object["revision"] as? Int))}\n")
        #expect(try cluster.quorate("get", "k", "--read-level", "linearizable").code == 1)

        let again = try cluster.quorate("init", "--json")
        #expect(again.code == 1)
        #expect(again.object["retryable"] as? Bool == false)
        #expect(again.object["error"] is String && again.object["message"] is String)
    }

    @Test("An import stores a file once, and the export is the file again")
    func importAndExport() async throws {
        let cluster = try LocalProcess()
        defer { cluster.stop() }
        var lines = (0..<2_345).map { #"{"key":"f/\#(100_000 + $0)","value":"v\#($0) é \t"}"# }
        lines.append(#"{"keyBase64":"Zv8=","base64":"AP8="}"#)
        let file = Data((lines.joined(separator: "\n") + "\n").utf8)
        let path = cluster.directory.appendingPathComponent("lines.jsonl").path
        try file.write(to: URL(fileURLWithPath: path))
        let first = try cluster.quorate("import", path, "--json")
        #expect(first.code == 0)
        #expect(first.object["imported"] as? Int == 2_346)
        // A change of today survives when the file of yesterday is imported once more.
        #expect(try cluster.quorate("put", "f/100000", "changed").code == 0)
        #expect(try cluster.quorate("import", path, "--json").object["imported"] as? Int == 0)
        let exported = try cluster.quorate("export", "f").text.split(separator: "\n").map(String.init)
        #expect(exported.dropFirst() == lines.dropFirst())
        #expect(exported.first == #"{"key":"f/100000","value":"changed"}"#)
        #expect(try cluster.quorate("list", "", "--count").text == "2346\n")
    }

    @Test("Without a quorum status says so, names who is missing, and ends with 1; so does local")
    func withoutQuorum() async throws {
        let cluster = try LocalProcess()
        defer { cluster.stop() }
        let healthy = try cluster.quorate("status", "--json")
        #expect(healthy.code == 0)
        #expect(healthy.object["leader"] is String)
        #expect((healthy.object["nodes"] as? [Any])?.count == 3)
        for node in try #require(cluster.ready["nodes"] as? [[String: Any]]).prefix(2) {
            kill(pid_t(try #require(node["pid"] as? Int)), SIGKILL)
        }
        #expect(cluster.waitForExit() == 1)
        let status = try cluster.quorate("status", "--json")
        #expect(status.code == 1)
        #expect(status.object["leader"] is NSNull)
        let put = try cluster.quorate("put", "k", "v", "--json", "--timeout", "500ms")
        #expect(put.code == 1)
        #expect(put.object["message"] as? String != nil)
        #expect((put.object["message"] as? String)?.contains("reached 0 of 3") == true)
    }

    @Test("A wrong command line ends with 2")
    func wrongCommandLine() throws {
        #expect(try Program.run(["put", "k"]).code == 2)
        #expect(try Program.run(["frobnicate"]).code == 2)
        #expect(try Program.run(["get", "k", "--endpoints", "nonsense"]).code == 2)
        #expect(try Program.run(["serve", "--name", "n1"]).code == 2)
        let exposed = try Program.run([
            "serve", "--name", "n1", "--data", "/nonexistent", "--client", "0.0.0.0:1", "--peer", "127.0.0.1:2",
        ])
        #expect(exposed.code == 2)
        #expect(exposed.errors.contains("without TLS"))
        #expect(try Program.run(["--version"]).code == 0)
    }
}

/// The program under test: the one that the environment names, else the one built with these tests.
private enum Program {
    struct Output {
        var code: Int32
        var text: String
        var errors: String

        var object: [String: Any] {
            (try? JSONSerialization.jsonObject(with: Data(text.utf8))) as? [String: Any] ?? [:]
        }

        static func == (left: Output, right: (Int32, String)) -> Bool { left.code == right.0 && left.text == right.1 }
    }

    static var url: URL {
        if let path = ProcessInfo.processInfo.environment["QUORATE_BINARY"] { return URL(fileURLWithPath: path) }
        let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        return URL(fileURLWithPath: own).deletingLastPathComponent().appendingPathComponent("quorate")
    }

    static func run(_ arguments: [String], input: Data? = nil) throws -> Output {
        let process = Process()
        process.executableURL = url
        process.arguments = arguments
        let (standardInput, output, errors) = (Pipe(), Pipe(), Pipe())
        (process.standardInput, process.standardOutput, process.standardError) = (standardInput, output, errors)
        try process.run()
        if let input { try standardInput.fileHandleForWriting.write(contentsOf: input) }
        try standardInput.fileHandleForWriting.close()
        let text = try output.fileHandleForReading.readToEnd() ?? Data()
        let errorText = try errors.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return Output(
            code: process.terminationStatus, text: String(decoding: text, as: UTF8.self),
            errors: String(decoding: errorText, as: UTF8.self))
    }
}

/// `quorate local` in a directory of its own. The system chooses the ports' neighbourhood: each attempt takes another.
private final class LocalProcess {
    let directory: URL
    private(set) var ready: [String: Any] = [:]
    private let process = Process()
    private var endpoints = ""

    init() throws {
        directory = FileManager.default.temporaryDirectory.appendingPathComponent("contract-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let basePort = Int.random(in: 20_000..<30_000)
        let output = Pipe()
        process.executableURL = Program.url
        process.arguments = [
            "local", "--nodes", "3", "--data", directory.appendingPathComponent("data").path, "--base-port",
            "\(basePort)",
            "--json",
        ]
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        try process.run()
        var line = Data()
        while let byte = try output.fileHandleForReading.read(upToCount: 1), let first = byte.first, first != 0x0A {
            line.append(first)
        }
        ready = try #require(
            try? JSONSerialization.jsonObject(with: line) as? [String: Any], "the cluster did not start")
        endpoints = (ready["endpoints"] as? [String] ?? []).joined(separator: ",")
    }

    func quorate(_ arguments: String..., input: Data? = nil) throws -> Program.Output {
        try Program.run(arguments + ["--endpoints", endpoints], input: input)
    }

    func waitForExit() -> Int32 {
        process.waitUntilExit()
        return process.terminationStatus
    }

    func stop() {
        if process.isRunning {
            process.terminate()
            process.waitUntilExit()
        }
        try? FileManager.default.removeItem(at: directory)
    }
}
