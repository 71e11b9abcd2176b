package import Basics

/// What a command does. Numbers are forever: they stand in every log.
package enum CommandKind: UInt8, Hashable, Sendable, CaseIterable {
    case put = 1
    case delete = 2
    case deleteRange = 3
    case createSequential = 4
    case transaction = 5
    case endSession = 6
    case createOwnedSequential = 7

    // Elections, locks and the State API: `CoordinationCommand`.
    case campaign = 16
    case withdraw = 17
    case setCandidateData = 18
    case acquireLock = 19
    case releaseLock = 20
    case stateSet = 21
    case stateExpunge = 22

    /// Keeps previous values under a prefix from here on, or no longer.
    case setHistory = 23

    /// What masters change in their registry: `RegistryCommand`.
    case registry = 24

    // The leader's own housekeeping; a client may not send these.
    case expireSessions = 128
    /// Moves cluster time on while nothing else is logged.
    case tick = 129
    case digestVerdict = 130
    case deleteFloor = 131
    case memberInfo = 132
    case featureLevel = 133

    package var isHousekeeping: Bool { rawValue >= 128 }
}

/// Whose command it is and which one of theirs. Stands before the body of every command:
///
///      0  u8   kind         `CommandKind`
///      1  u8   flags        1: opens the session; 2: one-shot, the session ends with this command; 4: has guards
///      2  16 B session      `SessionID`; zero for housekeeping
///     18  u64  sequence     from 1, rising by one with each mutation of the session; 0 for housekeeping
///     26  u64  acknowledgedThrough   replies through this sequence will not be asked for again
///     34  u64  openedAt     only with flag 1: cluster time in ns, as the client knew it
///     42  u32  timeout      only with flag 1: in ms
///     34 or 46             only with flag 4: u8 count ≤ `Limits.guardsMax` | `Guard` each
///     then … body
///
/// The bytes that a client sends as the body of a `mutate` frame are the payload of the log record, unchanged.
///
/// A client sets flag 1 until the first reply of the session has come: the mutation then opens the session if it is not
/// open. A one-shot mutation has a session of its own (flag 1 too, sequence 1) that ends with it; its reply is kept as
/// long as the ended session is remembered, so a retry still gets it.
///
/// With guards the mutation is carried out only if all of them hold when it is applied; else it is answered `fenced`.
package struct CommandHeader: Hashable, Sendable {
    package var kind: CommandKind
    package var isOneShot: Bool
    package var session: SessionID
    package var sequence: UInt64
    package var acknowledgedThrough: UInt64
    package var opening: SessionOpening?
    package var guards: [Guard]

    package init(
        kind: CommandKind, session: SessionID, sequence: UInt64, acknowledgedThrough: UInt64 = 0,
        opening: SessionOpening? = nil, isOneShot: Bool = false, guards: [Guard] = []
    ) {
        self.kind = kind
        self.session = session
        self.sequence = sequence
        self.acknowledgedThrough = acknowledgedThrough
        self.opening = opening
        self.isOneShot = isOneShot
        self.guards = guards
    }

    package static func housekeeping(_ kind: CommandKind) -> CommandHeader {
        CommandHeader(kind: kind, session: .housekeeping, sequence: 0)
    }

    private static let opensSession: UInt8 = 1
    private static let oneShot: UInt8 = 2
    private static let hasGuards: UInt8 = 4

    package func encode(into writer: inout ByteWriter) {
        writer.write(kind.rawValue)
        let flags =
            (opening == nil ? 0 : Self.opensSession) | (isOneShot ? Self.oneShot : 0)
            | (guards.isEmpty ? 0 : Self.hasGuards)
        writer.write(flags)
        writer.write(session)
        writer.write(sequence)
        writer.write(acknowledgedThrough)
        if let opening {
            writer.write(opening.openedAt.nanoseconds)
            writer.write(UInt32(clamping: opening.timeout.nanoseconds / 1_000_000))
        }
        guard !guards.isEmpty else { return }
        writer.write(UInt8(clamping: guards.count))
        for condition in guards { condition.encode(into: &writer) }
    }

    /// Leaves the reader at the body. Checks each field by itself and that client and housekeeping fields go together.
    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        let number = try reader.readUInt8()
        guard let kind = CommandKind(rawValue: number) else { throw .unknown("command", UInt64(number)) }
        let flags = try reader.readUInt8()
        guard flags & ~(Self.opensSession | Self.oneShot | Self.hasGuards) == 0 else { throw .invalid("command flags") }
        self.kind = kind
        isOneShot = flags & Self.oneShot != 0
        session = try reader.readSessionID()
        sequence = try reader.readUInt64()
        acknowledgedThrough = try reader.readUInt64()
        if flags & Self.opensSession != 0 {
            let openedAt = ClusterTime(nanoseconds: try reader.readUInt64())
            let timeout = Interval.milliseconds(Int64(try reader.readUInt32()))
            opening = SessionOpening(openedAt: openedAt, timeout: timeout)
        }
        guards = []
        if flags & Self.hasGuards != 0 {
            let count = Int(try reader.readUInt8())
            guard count > 0 else { throw .invalid("guards: none, though the flag says so") }
            guard count <= Limits.guardsMax else { throw .tooLarge(UInt64(count)) }
            for _ in 0..<count { guards.append(try Guard(decoding: &reader)) }
        }
        if kind.isHousekeeping {
            guard session == .housekeeping, sequence == 0, acknowledgedThrough == 0, flags == 0 else {
                throw .invalid("housekeeping header")
            }
        } else {
            guard session != .housekeeping else { throw .invalid("session id: it may not be zero") }
            guard sequence > acknowledgedThrough, sequence < .max else { throw .invalid("sequence") }
            if let opening {
                guard opening.timeout >= Limits.sessionTimeoutMin, opening.timeout <= Limits.sessionTimeoutMax else {
                    throw .invalid("session timeout: 1 s to 24 h")
                }
            }
            guard !isOneShot || (opening != nil && sequence == 1 && kind != .endSession) else {
                throw .invalid("one-shot command")
            }
        }
    }
}

/// Carried by a session's mutations until one of them has been answered. The session is opened only if the time named
/// is recent, so that a copy of the command that turns up minutes later cannot open it a second time. It names the same
/// time in all of them: an ended session is remembered until that time is not recent any more.
package struct SessionOpening: Hashable, Sendable {
    package var openedAt: ClusterTime
    package var timeout: Interval

    package init(openedAt: ClusterTime, timeout: Interval) {
        self.openedAt = openedAt
        self.timeout = timeout
    }
}
