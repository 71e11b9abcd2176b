internal import Basics
internal import MetadataModel

/// Proof of leading a group or holding a lock: a number that rises with each new leader or holder of the name. As a
/// guard of a mutation it makes the cluster refuse what comes from a leader or holder that is one no more.
public struct Fence: Hashable, Sendable, CustomStringConvertible {
    public enum Kind: String, Hashable, Sendable, CaseIterable {
        case election
        case lock
    }

    public var kind: Kind
    public var name: [UInt8]
    public var number: UInt64

    public init(kind: Kind, name: [UInt8], number: UInt64) {
        self.kind = kind
        self.name = name
        self.number = number
    }

    public static func election(_ group: String, _ number: UInt64) -> Fence {
        Fence(kind: .election, name: Array(group.utf8), number: number)
    }

    public static func lock(_ name: String, _ number: UInt64) -> Fence {
        Fence(kind: .lock, name: Array(name.utf8), number: number)
    }

    /// Reads `election:GROUP=N` or `lock:NAME=N`; nil where it is neither.
    public init?(_ text: String) {
        guard let colon = text.firstIndex(of: ":"), let equals = text.lastIndex(of: "="), colon < equals,
            let kind = Kind(rawValue: String(text[..<colon])),
            let number = UInt64(text[text.index(after: equals)...]), number > 0
        else { return nil }
        let name = text[text.index(after: colon)..<equals]
        guard !name.isEmpty else { return nil }
        self.init(kind: kind, name: Array(name.utf8), number: number)
    }

    public var description: String { "\(kind.rawValue):\(String(decoding: name, as: UTF8.self))=\(number)" }

    var model: Guard { Guard(kind: kind == .election ? .election : .lock, name: name, fence: number) }
}

/// A place in the line for leading a group or for a lock.
public struct Ticket: Hashable, Sendable {
    /// Rises with each ticket of the name; the lowest is first.
    public var number: UInt64
    /// The fence of leading or holding; nil while others come first.
    public var fence: UInt64?

    public init(number: UInt64, fence: UInt64?) {
        self.number = number
        self.fence = fence
    }
}

/// A candidate of an election.
public struct ElectionCandidate: Hashable, Sendable {
    public var ticket: Ticket
    /// Names the session that campaigns.
    public var session: String
    public var data: [UInt8]

    init(_ candidate: Candidate) {
        ticket = Ticket(number: candidate.ticket.rawValue, fence: candidate.fence > 0 ? candidate.fence : nil)
        session = candidate.session.description
        data = candidate.data
    }
}

public enum LockSharing: String, Hashable, Sendable, CaseIterable {
    /// One holder at a time.
    case exclusive
    /// Any number of holders, while nobody holds it exclusively.
    case shared

    init(_ mode: LockMode) { self = mode == .exclusive ? .exclusive : .shared }

    var mode: LockMode { self == .exclusive ? .exclusive : .shared }
}

/// Somebody in the line for a lock; who has a fence holds it.
public struct LockPlace: Hashable, Sendable {
    public var ticket: Ticket
    public var session: String
    public var sharing: LockSharing
    /// The session has ended; the lock is released after the delay that was asked for.
    public var isReleasedLater: Bool

    init(_ place: LockTicket) {
        ticket = Ticket(number: place.ticket.rawValue, fence: place.fence > 0 ? place.fence : nil)
        session = place.session.description
        sharing = LockSharing(place.mode)
        isReleasedLater = place.heldUntil != nil
    }
}

/// A variable of the State API: a value and the version under which it was fetched or stored.
public struct StateVariable: Hashable, Sendable {
    public let name: [UInt8]
    public var value: [UInt8]
    /// 16 bytes.
    public let version: [UInt8]
    /// False: nothing is stored under this name; the value is empty and the version drawn here.
    public let isStored: Bool

    init(name: [UInt8], entry: StateEntry, isStored: Bool) {
        self.name = name
        value = entry.value
        var writer = ByteWriter()
        entry.version.encode(into: &writer)
        version = writer.takeBytes()
        self.isStored = isStored
    }

    var modelVersion: StateVersion {
        var reader = ByteReader(version.rawSpan)
        return (try? StateVersion(decoding: &reader)) ?? StateVersion(0, 0)
    }

    /// In the usual form of a UUID.
    public var uuid: String {
        let digits = version.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
        return [digits[0..<4], digits[4..<6], digits[6..<8], digits[8..<10], digits[10..<16]]
            .map { $0.joined() }.joined(separator: "-")
    }
}

/// An open session, as an operator sees it.
public struct SessionReport: Hashable, Sendable {
    public var id: String
    public var timeoutMilliseconds: UInt64
    /// Milliseconds since 1970, by cluster time.
    public var openedAtMilliseconds: UInt64
    /// Records, tickets and locks that go with it.
    public var ownedCount: UInt32

    init(_ info: SessionInfo) {
        id = info.id.description
        timeoutMilliseconds = UInt64(clamping: info.timeout.nanoseconds / 1_000_000)
        openedAtMilliseconds = info.openedAt.nanoseconds / 1_000_000
        ownedCount = info.ownedCount
    }
}
