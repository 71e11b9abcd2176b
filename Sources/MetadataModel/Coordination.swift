package import Basics

/// What the name of an election group, of a lock or of a State API entry may be.
package enum CoordinationName {
    /// Why `name` may not be that of a group or a lock; nil when it may: 1 … `Limits.nameSizeMax` bytes, none of them
    /// zero, so that in a stored key the name ends where its zero byte is.
    package static func refusal(of name: [UInt8]) -> ReplyError? {
        guard !name.contains(0) else {
            return ReplyError(.invalidRequest, "the name of a group or a lock may not hold a zero byte")
        }
        return refusal(ofEntry: name)
    }

    /// Why `name` may not be that of a State API entry; nil when it may: 1 … `Limits.nameSizeMax` bytes of any value.
    package static func refusal(ofEntry name: [UInt8]) -> ReplyError? {
        guard !name.isEmpty else { return ReplyError(.invalidRequest, "a name may not be empty") }
        guard name.count > Limits.nameSizeMax else { return nil }
        return ReplyError(.tooLarge, "a name of \(name.count) bytes", limit: UInt64(Limits.nameSizeMax))
    }
}

/// What a mutation relies on: that the holder of this fence still leads the group, or still holds the lock. Checked
/// when the mutation is applied; where it does not hold, nothing is done and the answer is `fenced`.
///
///     u8 1 election, 2 lock | u16 size, name | u64 fence
package struct Guard: Hashable, Sendable {
    package enum Kind: UInt8, Hashable, Sendable, CaseIterable {
        case election = 1
        case lock = 2
    }

    package var kind: Kind
    package var name: [UInt8]
    package var fence: UInt64

    package init(kind: Kind, name: [UInt8], fence: UInt64) {
        self.kind = kind
        self.name = name
        self.fence = fence
    }

    package func encode(into writer: inout ByteWriter) {
        writer.write(kind.rawValue)
        writer.writeBytes16(name)
        writer.write(fence)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        let number = try reader.readUInt8()
        guard let kind = Kind(rawValue: number) else { throw .unknown("guard", UInt64(number)) }
        self.kind = kind
        name = [UInt8](try reader.readBytes16(max: Limits.nameSizeMax))
        guard CoordinationName.refusal(of: name) == nil else { throw .invalid("name in a guard") }
        fence = try reader.readUInt64()
        guard fence > 0 else { throw .invalid("fence 0 in a guard: nobody holds it") }
    }
}

package enum LockMode: UInt8, Hashable, Sendable, CaseIterable {
    case exclusive = 1
    case shared = 2
}

/// A place in the line for a lock that a session asks for.
package struct LockRequest: Hashable, Sendable {
    package var name: [UInt8]
    package var mode: LockMode
    /// Only if it is free at once: no place in the line is taken else.
    package var isTry: Bool
    /// When the session ends without releasing it, the lock stays held for this long: time for what the holder set in
    /// motion to come to rest.
    package var delay: Interval

    package init(name: [UInt8], mode: LockMode, isTry: Bool = false, delay: Interval = .zero) {
        self.name = name
        self.mode = mode
        self.isTry = isTry
        self.delay = delay
    }
}

/// A candidate of an election; the lowest ticket of a group leads. What stands in its row, whose key ends with the
/// ticket:
///
///     16 B session | u64 fence, 0: waits | u32 size, data
package struct Candidate: Hashable, Sendable {
    package var ticket: LogIndex
    package var session: SessionID
    /// Of its leadership; 0 while it waits.
    package var fence: UInt64
    package var data: [UInt8]

    package init(ticket: LogIndex, session: SessionID, fence: UInt64, data: [UInt8]) {
        self.ticket = ticket
        self.session = session
        self.fence = fence
        self.data = data
    }

    package func encodeRow(into writer: inout ByteWriter) {
        writer.write(session)
        writer.write(fence)
        writer.writeBytes32(data)
    }

    package init(ticket: LogIndex, decodingRow reader: inout ByteReader) throws(DecodeError) {
        self.ticket = ticket
        session = try reader.readSessionID()
        fence = try reader.readUInt64()
        data = [UInt8](try reader.readBytes32(max: Limits.candidateDataSizeMax))
    }
}

/// A place in the line for a lock. What stands in its row, whose key ends with the ticket:
///
///     16 B session | u8 mode | u64 fence, 0: waits | u32 delay, ms | u64 held until, ns of cluster time, 0: its session
///     lives
package struct LockTicket: Hashable, Sendable {
    package var ticket: LogIndex
    package var session: SessionID
    package var mode: LockMode
    /// Of its holding; 0 while it waits.
    package var fence: UInt64
    package var delay: Interval
    /// Set once its session has ended: it is released then.
    package var heldUntil: ClusterTime?

    package init(
        ticket: LogIndex, session: SessionID, mode: LockMode, fence: UInt64, delay: Interval,
        heldUntil: ClusterTime? = nil
    ) {
        self.ticket = ticket
        self.session = session
        self.mode = mode
        self.fence = fence
        self.delay = delay
        self.heldUntil = heldUntil
    }

    package var isHeld: Bool { fence > 0 }

    package func encodeRow(into writer: inout ByteWriter) {
        writer.write(session)
        writer.write(mode.rawValue)
        writer.write(fence)
        writer.write(UInt32(clamping: delay.nanoseconds / 1_000_000))
        writer.write(heldUntil?.nanoseconds ?? 0)
    }

    package init(ticket: LogIndex, decodingRow reader: inout ByteReader) throws(DecodeError) {
        self.ticket = ticket
        session = try reader.readSessionID()
        mode = try LockMode(decoding: &reader)
        fence = try reader.readUInt64()
        delay = .milliseconds(Int64(try reader.readUInt32()))
        let until = try reader.readUInt64()
        heldUntil = until == 0 ? nil : ClusterTime(nanoseconds: until)
    }
}

extension LockMode {
    init(decoding reader: inout ByteReader) throws(DecodeError) {
        let number = try reader.readUInt8()
        guard let mode = LockMode(rawValue: number) else { throw .unknown("lock mode", UInt64(number)) }
        self = mode
    }
}

/// Names one version of a State API entry: 16 random bytes that the client drew when it stored it.
package struct StateVersion: Hashable, Sendable {
    package var bytes: SessionID

    package init(_ first: UInt64, _ second: UInt64) { bytes = SessionID(first, second) }

    package func encode(into writer: inout ByteWriter) { writer.write(bytes) }

    package init(decoding reader: inout ByteReader) throws(DecodeError) { bytes = try reader.readSessionID() }
}

/// An entry of the State API, as it stands in its row:
///
///     16 B version | u32 size, value
package struct StateEntry: Hashable, Sendable {
    package var version: StateVersion
    package var value: [UInt8]

    package init(version: StateVersion, value: [UInt8]) {
        self.version = version
        self.value = value
    }

    package func encodeRow(into writer: inout ByteWriter) {
        version.encode(into: &writer)
        writer.writeBytes32(value)
    }

    package init(decodingRow reader: inout ByteReader) throws(DecodeError) {
        version = try StateVersion(decoding: &reader)
        value = [UInt8](try reader.readBytes32(max: Limits.valueSizeMaxCeiling))
    }
}

/// A change of a State API entry: stored where there is none, or where the stored version is the expected one.
package struct StateStore: Hashable, Sendable {
    package var name: [UInt8]
    package var entry: StateEntry
    package var expected: StateVersion

    package init(name: [UInt8], entry: StateEntry, expected: StateVersion) {
        self.name = name
        self.entry = entry
        self.expected = expected
    }
}
