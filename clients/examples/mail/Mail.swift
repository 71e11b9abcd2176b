public import ArgumentParser
public import Client
internal import Foundation

// How the three programs speak with each other: by records of the cluster, so that no message is lost with whoever was
// to read it. Whoever has dealt with a message deletes it.

/// What a framework asks of the leading master: that cpus and disk of an agent be reserved to its role, and the disk be
/// made a volume. A record at `example/requests/FRAMEWORK/NUMBER`.
public struct Request: Hashable, Sendable {
    public var agent: String
    public var role: String
    public var cpus: Double
    /// In MB.
    public var disk: Double
    public var volume: String
    /// 32 hexadecimal digits: under it the request is carried out once, whichever master does it.
    public var uuid: String

    public init(agent: String, role: String, cpus: Double, disk: Double, volume: String) {
        self.agent = agent
        self.role = role
        self.cpus = cpus
        self.disk = disk
        self.volume = volume
        uuid = Hex.text((0..<16).map { _ in UInt8.random(in: .min ... .max) })
    }

    public init?(_ message: [UInt8]) {
        let parts = String(decoding: message, as: UTF8.self).split(separator: " ").map(String.init)
        guard parts.count == 6, let cpus = Double(parts[2]), let disk = Double(parts[3]),
            Hex.bytes(parts[5])?.count == 16
        else { return nil }
        agent = parts[0]
        role = parts[1]
        self.cpus = cpus
        self.disk = disk
        volume = parts[4]
        uuid = parts[5]
    }

    public var message: [UInt8] { Array("\(agent) \(role) \(cpus) \(disk) \(volume) \(uuid)".utf8) }

    /// Of the operations that it takes.
    public func operationUUID(_ number: UInt8) -> [UInt8] {
        var bytes = Hex.bytes(uuid) ?? []
        if !bytes.isEmpty { bytes[bytes.count - 1] ^= number }
        return bytes
    }
}

public enum Mail {
    public static let requests = Array("example/requests/".utf8)
    /// `example/answers/FRAMEWORK/NUMBER`: `done`, or the rule that refuses the request.
    public static let answers = Array("example/answers/".utf8)
    /// `example/finished/AGENT/UUID`: the agent has done the operation.
    public static let finished = Array("example/finished/".utf8)

    /// What stands behind the prefix, from slash to slash.
    public static func parts(of key: [UInt8], behind prefix: [UInt8]) -> [String] {
        String(decoding: key.dropFirst(prefix.count), as: UTF8.self).split(separator: "/").map(String.init)
    }
}

public enum Hex {
    public static func text(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    /// Nil where it is no such text.
    public static func bytes(_ text: String) -> [UInt8]? {
        let digits = text.utf8.map { UInt8(String(UnicodeScalar($0)), radix: 16) }
        guard digits.count % 2 == 0, digits.allSatisfy({ $0 != nil }) else { return nil }
        return stride(from: 0, to: digits.count, by: 2).map { (digits[$0] ?? 0) << 4 | (digits[$0 + 1] ?? 0) }
    }
}

/// Tells whoever runs the program what happens: a line of JSON.
public func say(_ state: String, _ members: [String: Any] = [:]) {
    var object = members
    object["state"] = state
    let line = (try? JSONSerialization.data(withJSONObject: object, options: .sortedKeys)) ?? Data("{}".utf8)
    FileHandle.standardOutput.write(line + Data("\n".utf8))
}

public struct ClusterOptions: ParsableArguments {
    @Option(help: "HOST:PORT of the client ports of some or all nodes, with commas between them.")
    public var endpoints: String
    @Option(help: "Seconds of silence after which the cluster takes this program for gone.")
    public var sessionTimeout = 5

    public init() {}

    public func client(_ name: String) -> MetadataClient {
        var configuration = MetadataClientConfiguration(
            endpoints: endpoints.split(separator: ",").map(String.init))
        configuration.clientName = name
        configuration.timeout = .seconds(30)
        configuration.sessionTimeout = .seconds(sessionTimeout)
        return MetadataClient(configuration)
    }
}
