package import Basics

/// Names a session: 16 random bytes that the client drew. All zero is the leader's own housekeeping; no client may use
/// it.
package struct SessionID: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// Bytes 0 … 7 and 8 … 15, each read little-endian.
    package var first: UInt64
    package var second: UInt64

    @inlinable package init(_ first: UInt64, _ second: UInt64) {
        self.first = first
        self.second = second
    }

    package static let housekeeping = SessionID(0, 0)

    /// An order for output that must be the same on every replica; it means nothing else.
    @inlinable package static func < (left: SessionID, right: SessionID) -> Bool {
        (left.first, left.second) < (right.first, right.second)
    }

    package var description: String {
        [first, second].map { part in
            let digits = String(part, radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }.joined()
    }
}

extension ByteWriter {
    package mutating func write(_ session: SessionID) {
        write(session.first)
        write(session.second)
    }
}

extension ByteReader {
    @_lifetime(self: copy self)
    package mutating func readSessionID() throws(DecodeError) -> SessionID {
        let first = try readUInt64()
        return SessionID(first, try readUInt64())
    }
}

/// A session as the leader must know it to decide when it has been silent for too long.
package struct OpenSession: Hashable, Sendable {
    package var id: SessionID
    package var timeout: Interval

    package init(id: SessionID, timeout: Interval) {
        self.id = id
        self.timeout = timeout
    }
}
