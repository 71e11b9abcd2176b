import ArgumentParser
import Basics
import Foundation
import Server
import Testing

@testable import quorate

@Suite("The command line")
struct CommandLineTests {
    @Test("Times have a unit, and nothing overflows")
    func times() {
        #expect(TimeQuantity(argument: "5s")?.interval == .seconds(5))
        #expect(TimeQuantity(argument: "100ms")?.interval == .milliseconds(100))
        #expect(TimeQuantity(argument: "2m")?.interval == .seconds(120))
        #expect(TimeQuantity(argument: "24h")?.interval == .seconds(86_400))
        for wrong in ["", "5", "s", "-5s", "5 s", "5sec", "1.5s", "9223372036854775807s", "99999999999999999999ms"] {
            #expect(TimeQuantity(argument: wrong) == nil, "\(wrong)")
        }
    }

    @Test("Sizes are bytes or binary units, and nothing overflows")
    func sizes() {
        #expect(SizeQuantity.parse("0") == 0)
        #expect(SizeQuantity.parse("64MiB") == 67_108_864)
        #expect(SizeQuantity.parse("1GiB") == 1_073_741_824)
        #expect(SizeQuantity.parse("9223372036854775807GiB") == nil)
        #expect(SizeQuantity.parse("64M") == nil)
        #expect(SizeQuantity.text(1_023) == "1023 B")
        #expect(SizeQuantity.text(1_536) == "1.5 KiB")
        #expect(SizeQuantity.text(3 << 40) == "3.0 TiB")
    }

    @Test("Addresses are HOST:PORT, with brackets around IPv6")
    func addresses() {
        #expect(HostPort("127.0.0.1:7400") == HostPort(host: "127.0.0.1", port: 7_400))
        #expect(HostPort("[::1]:1") == HostPort(host: "::1", port: 1))
        #expect(HostPort("[::1]:1")?.description == "[::1]:1")
        for wrong in ["", ":", "a:", ":1", "::1:1", "a:65536", "a:-1", "a b:1", "[::1:1", "http://a:1"] {
            #expect(HostPort(wrong) == nil, "\(wrong)")
        }
        #expect(HostPort(host: "127.0.0.2", port: 1).isLoopback)
        #expect(HostPort(host: "localhost", port: 1).isLoopback)
        #expect(!HostPort(host: "127.0.0.1.example", port: 1).isLoopback)
        #expect(!HostPort(host: "127.a.b.c", port: 1).isLoopback)
    }

    @Test("Endpoints come from the flag, and a bad one is named")
    func endpoints() throws {
        var options = try ClientOptions.parse(["--endpoints", "a:1, [::1]:2", "--timeout", "1s", "--json"])
        #expect(try options.endpointList() == ["a:1", "[::1]:2"])
        #expect(options.timeout.interval == .seconds(1))
        options = try ClientOptions.parse(["--endpoints", "a:1,b"])
        #expect(throws: CommandError.usage("--endpoints: \"b\" is not HOST:PORT, as in 127.0.0.1:7400")) {
            try options.endpointList()
        }
        #expect(throws: (any Error).self) { try ClientOptions.parse(["--timeout", "0s"]) }
    }

    @Test("Wrong arguments are a validation failure of the parser, which ends with exit code 2")
    func wrongArguments() {
        for arguments in [
            ["put", "k"], ["get"], ["list", "--limit", "0"], ["list", "--count", "--limit", "3"], ["frobnicate"],
        ] {
            do {
                _ = try Quorate.parseAsRoot(arguments)
                Issue.record("\(arguments) were accepted")
            } catch {
                #expect(Quorate.exitCode(for: error) == .validationFailure)
            }
        }
    }

    @Test("Control characters and bytes that are not text are shown so that a terminal is safe")
    func readable() {
        #expect(List.readable(Array("Grüße".utf8)) == Array("Grüße".utf8))
        #expect(List.readable(Array("a\u{1B}[2J".utf8)) == Array(#""a\u001b[2J""#.utf8))
        #expect(List.readable([0xFF]) == Array("base64:/w==".utf8))
    }

    @Test("local gives every node its ports, and all of them the same list")
    func localLayout() throws {
        let layout = LocalLayout(nodes: 3, basePort: 7_400)
        try layout.validate()
        #expect(layout.endpoints == ["127.0.0.1:7400", "127.0.0.1:7401", "127.0.0.1:7402"])
        #expect(layout.endpoints == ClientOptions.localEndpoints)
        #expect(layout.isFoundByDefault)
        #expect(layout.majority == 2)
        let arguments = layout.arguments(for: layout.members[1], dataDirectory: "d", further: ["--engine", "memory"])
        #expect(
            arguments == [
                "serve", "--name", "n2", "--data", "d/n2", "--client", "127.0.0.1:7401", "--peer", "127.0.0.1:7501",
                "--cluster", "n1=127.0.0.1:7500,n2=127.0.0.1:7501,n3=127.0.0.1:7502", "--stop-with-standard-input",
                "--engine", "memory",
            ])
        guard let serve = try Quorate.parseAsRoot(arguments) as? Serve else {
            Issue.record("not the serve command")
            return
        }
        #expect(try serve.configuration().cluster.count == 3)
        #expect(try serve.configuration().httpListen == nil)
        let observed = layout.arguments(for: layout.members[2], dataDirectory: "d", withHTTP: true, further: [])
        #expect(observed.suffix(2) == ["--http", "127.0.0.1:7602"])
        #expect(serve.stopWithStandardInput)
        #expect(!LocalLayout(nodes: 3, basePort: 8_400).isFoundByDefault)
        for wrong in [LocalLayout(nodes: 0, basePort: 7_400), LocalLayout(nodes: 3, basePort: 65_500)] {
            #expect(throws: CommandError.self) { try wrong.validate() }
        }
    }

    @Test("local remembers its layout in the directory")
    func localLayoutIsStored() throws {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("local-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        #expect(try LocalLayout.stored(in: directory) == nil)
        let layout = LocalLayout(nodes: 5, basePort: 9_000)
        try layout.store(in: directory)
        #expect(try LocalLayout.stored(in: directory) == layout)
        try Data("{}".utf8).write(to: URL(fileURLWithPath: LocalLayout.fileName(in: directory)))
        #expect(throws: CommandError.self) { try LocalLayout.stored(in: directory) }
    }
}
