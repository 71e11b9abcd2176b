import Basics
import Foundation

@testable import Transport

/// A CA with certificates, made by `ops/certificates` in a folder of its own; gone with the object.
final class Certificates {
    let directory: String

    init(_ nodes: String...) throws {
        directory = FileManager.default.temporaryDirectory.path + "/quorate-tls-\(UUID().uuidString.prefix(8))"
        try make(nodes)
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    private static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().path

    func make(_ nodes: [String] = [], renewing: Bool = false) throws {
        let environment = renewing ? ["RENEW": "1"] : [:]
        try run("\(Self.root)/ops/certificates", [directory] + nodes, environment: environment)
    }

    func files(_ name: String, authority: String? = nil) -> TLSFiles {
        TLSFiles(
            certificate: "\(directory)/\(name).pem", key: "\(directory)/\(name).key",
            authority: authority ?? "\(directory)/ca.pem")
    }

    /// A certificate with a name and an end of its own; a negative number of days: it has ended.
    func sign(_ name: String, uri: String?, usage: String = "serverAuth,clientAuth", days: Int = 1) throws -> TLSFiles {
        let path = "\(directory)/\(name)"
        try run("/usr/bin/env", ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "\(path).key"])
        try run(
            "/usr/bin/env",
            ["openssl", "req", "-new", "-key", "\(path).key", "-subj", "/CN=\(name)", "-out", "\(path).csr"])
        let names = uri.map { "subjectAltName = URI:\($0)\n" } ?? ""
        try "\(names)extendedKeyUsage = \(usage)\n".write(toFile: "\(path).cnf", atomically: true, encoding: .utf8)
        try run(
            "/usr/bin/env",
            [
                "openssl", "x509", "-req", "-in", "\(path).csr", "-CA", "\(directory)/ca.pem", "-CAkey",
                "\(directory)/ca.key", "-set_serial", "\(UInt32.random(in: 1...(.max)))", "-days", "\(days)", "-extfile",
                "\(path).cnf", "-out", "\(path).pem",
            ])
        return files(name)
    }

    /// What a person sees who looks at a port with openssl.
    func openssl(_ name: String?, port: UInt16, protocol: String, further: [String] = []) throws -> String {
        let own = name.map { ["-cert", files($0).certificate, "-key", files($0).key] } ?? []
        return try run(
            "/usr/bin/env",
            [
                "timeout", "20", "openssl", "s_client", "-connect", "127.0.0.1:\(port)", "-CAfile", "\(directory)/ca.pem",
                "-alpn", `protocol`, "-quiet", "-ign_eof",
            ] + own + further, mustSucceed: false)
    }

    struct Failed: Error, CustomStringConvertible { var description: String }

    @discardableResult
    private func run(
        _ program: String, _ arguments: [String], environment: [String: String] = [:], mustSucceed: Bool = true
    ) throws -> String {
        let process = Process()
        process.executableURL = URL(filePath: program)
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        let output = Pipe()
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        guard !mustSucceed || process.terminationStatus == 0 else {
            throw Failed(description: "\(arguments.joined(separator: " ")): \(text)")
        }
        return text
    }
}
