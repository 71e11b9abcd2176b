import Client
import Foundation

/// What `ops/certificates` makes, in a folder of its own; gone with the object.
final class Certificates {
    let directory: String

    init(_ nodes: [String] = ["n1", "n2", "n3"], days: Int = 365) async throws {
        directory = try Scratch.makeDirectory()
        try await make(nodes, days: days)
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    private static let script = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appending(path: "ops/certificates").path

    func make(_ nodes: [String], in directory: String? = nil, days: Int = 365) async throws {
        try await run("/usr/bin/env", ["DAYS=\(days)", Self.script, directory ?? self.directory] + nodes)
    }

    func flags(_ name: String, authority: String? = nil) -> [String] {
        [
            "--tls-cert", "\(directory)/\(name).pem", "--tls-key", "\(directory)/\(name).key", "--tls-ca",
            authority ?? "\(directory)/ca.pem",
        ]
    }

    var client: MetadataClientTLS {
        MetadataClientTLS(
            certificate: "\(directory)/client.pem", key: "\(directory)/client.key", authority: "\(directory)/ca.pem")
    }

    /// A client's certificate that ended a day ago.
    func makeExpired(_ name: String) async throws {
        let path = "\(directory)/\(name)"
        try "subjectAltName = URI:quorate://client/\(name)\nextendedKeyUsage = clientAuth\n"
            .write(toFile: "\(path).cnf", atomically: true, encoding: .utf8)
        try await openssl(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "\(path).key"])
        try await openssl(["req", "-new", "-key", "\(path).key", "-subj", "/CN=\(name)", "-out", "\(path).csr"])
        try await openssl(
            [
                "x509", "-req", "-in", "\(path).csr", "-CA", "\(directory)/ca.pem", "-CAkey", "\(directory)/ca.key",
                "-set_serial", "77", "-days", "-1", "-extfile", "\(path).cnf", "-out", "\(path).pem",
            ])
    }

    private func openssl(_ arguments: [String]) async throws { try await run("/usr/bin/openssl", arguments) }

    private func run(_ program: String, _ arguments: [String]) async throws {
        let (ending, output, errors) = try await Command.run(program, arguments, in: directory, timeout: .seconds(60))
        guard ending == .exited(0) else { throw TestFailure("\(program) \(arguments): \(ending)\n\(output)\(errors)") }
    }

    // MARK: Replacing

    func contents(_ name: String) throws -> Data { try Data(contentsOf: URL(filePath: "\(directory)/\(name)")) }

    /// As an administrator's copy does it: in place.
    func write(_ data: Data, to name: String) throws { try data.write(to: URL(filePath: "\(directory)/\(name)")) }
}
