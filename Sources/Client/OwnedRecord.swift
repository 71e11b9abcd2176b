/// A record that goes with the client's session, and is put again whenever that was lost.
actor OwnedRecord {
    private let client: MetadataClient
    private let key: [UInt8]
    private var value: [UInt8]

    init(_ client: MetadataClient, key: [UInt8], value: [UInt8]) {
        self.client = client
        self.key = key
        self.value = value
    }

    func set(_ value: [UInt8]) async throws(ClientError) {
        self.value = value
        try await client.put(key, value, isOwned: true)
    }

    /// Until the task is cancelled or the client is shut down.
    func keep() async throws(ClientError) {
        // From here on: what is lost meanwhile is not missed.
        let states = client.sessionStates
        try await putAtLast()
        for await state in states where state == .lost && !client.isShutDown { try await putAtLast() }
    }

    func remove() async throws(ClientError) { try await client.delete(key) }

    /// However long the cluster cannot be reached. Doing it twice does no harm.
    private func putAtLast() async throws(ClientError) {
        while true {
            do throws(ClientError) {
                try await client.put(key, value, isOwned: true)
                return
            } catch where client.isWorthReadingAgain(error) || Self.isSessionLost(error) && !client.isShutDown {
                try await MetadataClient.pauseBeforeReadingAgain()
            }
        }
    }

    /// While it was under way.
    private static func isSessionLost(_ error: ClientError) -> Bool {
        error.code == .unknown || error.code == .sessionExpired
    }
}

/// Who is there: at first everybody, then who has come, or says something else of itself, and who has gone.
public struct Presence<Member: Hashable & Sendable>: Hashable, Sendable {
    public var revision: UInt64
    public var present: [Member]
    /// Ids of agents, connections of frameworks. One whose session was lost may come again.
    public var gone: [[UInt8]]
}

extension Presence {
    /// A record that cannot be read is nobody's: whoever may write puts records there.
    init(_ rows: ObservedRows, prefix: [UInt8], _ read: (KeyValue) -> Member?) {
        revision = rows.revision
        present = rows.present.compactMap(read)
        gone = rows.gone.map { Array($0.dropFirst(prefix.count)) }
    }
}
