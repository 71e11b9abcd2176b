internal import Basics
internal import MetadataModel

// Fields that several frames share.

extension ByteWriter {
    /// `u16` lowest, `u16` highest.
    mutating func write(_ versions: ClosedRange<UInt16>) {
        write(versions.lowerBound)
        write(versions.upperBound)
    }

    /// `u8` present; if so `u64` id, `u64` generation, `u64` generation tag.
    mutating func write(_ identity: ClusterIdentity?) {
        write(identity != nil)
        guard let identity else { return }
        write(identity.id)
        write(identity.generation)
        write(identity.generationTag)
    }

    /// `u16` count, then 16 bytes each.
    mutating func write(_ sessions: [SessionID]) {
        invariant(
            sessions.count <= PeerMessage.sessionsMax, "\(sessions.count) sessions in a message that may list 4096")
        write(UInt16(sessions.count))
        for session in sessions { write(session) }
    }

    /// Text cut to what the reader accepts; only names and messages for people go through here.
    mutating func writeText(_ text: String, max limit: Int = PeerMessage.textSizeMax) {
        var text = text
        while text.utf8.count > limit { text.removeLast() }
        writeString16(text)
    }
}

extension ByteReader {
    @_lifetime(self: copy self)
    mutating func readVersions() throws(DecodeError) -> ClosedRange<UInt16> {
        let lowest = try readUInt16()
        let highest = try readUInt16()
        guard lowest <= highest else { throw .invalid("version range") }
        return lowest...highest
    }

    @_lifetime(self: copy self)
    mutating func readIdentity() throws(DecodeError) -> ClusterIdentity? {
        guard try readBool() else { return nil }
        let id = try readUInt64()
        let generation = try readUInt64()
        return ClusterIdentity(id: id, generation: generation, generationTag: try readUInt64())
    }

    @_lifetime(self: copy self)
    mutating func readSessions() throws(DecodeError) -> [SessionID] {
        let count = Int(try readUInt16())
        guard count <= PeerMessage.sessionsMax, count <= remaining / 16 else { throw .tooLarge(UInt64(count)) }
        var sessions: [SessionID] = []
        sessions.reserveCapacity(count)
        for _ in 0..<count { sessions.append(try readSessionID()) }
        return sessions
    }

    @_lifetime(self: copy self)
    mutating func readText() throws(DecodeError) -> String { try readString16(max: PeerMessage.textSizeMax) }

    @_lifetime(self: copy self)
    mutating func readNodeState() throws(DecodeError) -> NodeState {
        let number = try readUInt8()
        guard let state = NodeState(rawValue: number) else { throw .unknown("node state", UInt64(number)) }
        return state
    }
}
