internal import Basics
public import RegistryModel

/// A framework that is present, and the connection by which it is.
public struct FrameworkConnection: Hashable, Sendable {
    public var framework: FrameworkInfo
    /// For `MasterRegistry.subscribe`.
    public var connection: [UInt8]
}

/// What a framework uses: it is present while its client's session lives, and hears when a master has subscribed it.
///
///     let session = FrameworkSession(client, FrameworkInfo(name: Array("pg".utf8), role: Array("db".utf8)))
///     async let presence: Void = session.keep()             // masters see it, until the task is cancelled
///     let (id, row) = try await session.subscribed()         // the leading master has taken note of it
///     for try await now in client.observeMasters() { … }     // whom to speak to
///
/// What says that it is present is an owned record at `registry/frameworks/CONNECTION`: `connection | FrameworkInfo`.
/// One session is one connection: its master disconnects it when the record goes.
public struct FrameworkSession: Sendable {
    public let client: MetadataClient
    /// Tells this connection from earlier ones of the framework: 32 hexadecimal digits, drawn at random.
    public let connection: [UInt8]
    private let record: OwnedRecord

    static let prefix = Array("registry/frameworks/".utf8)

    /// - Parameter framework: with its id, once it has one; else it gets one when it is subscribed.
    public init(_ client: MetadataClient, _ framework: FrameworkInfo) {
        self.client = client
        let digits = (0..<32).map { _ in Array("0123456789abcdef".utf8)[Int.random(in: 0..<16)] }
        connection = digits
        record = OwnedRecord(client, key: Self.prefix + digits, value: Self.value(framework, digits))
    }

    private static func value(_ framework: FrameworkInfo, _ connection: [UInt8]) -> [UInt8] {
        var writer = ByteWriter()
        writer.writeBytes16(connection)
        framework.encode(into: &writer)
        return writer.takeBytes()
    }

    /// Is present, again after each loss of the session, until the task is cancelled or the client is shut down. Throws
    /// only what waiting does not help against.
    public func keep() async throws(ClientError) { try await record.keep() }

    /// Says something else of the framework; also its id, when it has been given one.
    public func announce(_ framework: FrameworkInfo) async throws(ClientError) {
        try await record.set(Self.value(framework, connection))
    }

    /// Is present no more. End `keep` before.
    public func leave() async throws(ClientError) { try await record.remove() }

    /// Returns once a master has subscribed the framework under this connection; at once when it is so already.
    public func subscribed() async throws(ClientError) -> (id: RegistryID, row: FrameworkRow) {
        while true {
            do throws(ClientError) {
                let view = try await client.registry(.frameworks)
                if let found = own(Array(view.records.values)) { return found }
                var watch = client.watchRegistry(.frameworks, from: view.revision + 1).makeAsyncIterator()
                while let changes = try await watch.next() {
                    if let found = own(changes.changes.compactMap(\.record)) { return found }
                }
            } catch where client.isWorthReadingAgain(error) || error.code == .viewReleased {
                try await MetadataClient.pauseBeforeReadingAgain()
            }
        }
    }

    private func own(_ records: [RegistryRecord]) -> (id: RegistryID, row: FrameworkRow)? {
        for case .framework(let id, let row) in records where row.connection == connection && row.state == .active {
            return (id: id, row: row)
        }
        return nil
    }
}

extension MetadataClient {
    /// The frameworks that are present, for masters: at first all of them, then who comes, changes, or goes.
    public func observeFrameworks(timeout: Duration? = nil) -> Observation<Presence<FrameworkConnection>> {
        observeRows(prefix: FrameworkSession.prefix, timeout: timeout) { rows in
            Presence(rows, prefix: FrameworkSession.prefix) { row in
                guard let found = try? FrameworkConnection(row.value),
                    FrameworkSession.prefix + found.connection == row.key
                else { return nil }
                return found
            }
        }
    }
}

extension FrameworkConnection {
    fileprivate init(_ bytes: [UInt8]) throws(DecodeError) {
        var reader = ByteReader(bytes.rawSpan)
        connection = [UInt8](try reader.readBytes16())
        framework = try FrameworkInfo(decoding: &reader)
        guard reader.isAtEnd else { throw .invalid("bytes behind a framework") }
    }
}
