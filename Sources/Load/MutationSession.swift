internal import Basics
internal import MetadataModel

/// The session of one connection's mutations, in order, as every client's are. One that has lost a mutation cannot go
/// on: another one takes its place, and what the replies to the former say does not concern it.
struct MutationSession {
    /// Rises with each session of the connection.
    private(set) var number: UInt64 = 0
    private var id = SessionID.housekeeping
    private var nextSequence: UInt64 = 1
    private var acknowledgedThrough: UInt64 = 0
    /// Until a mutation has been answered.
    private var opening: SessionOpening?

    mutating func begin(_ id: SessionID, at time: ClusterTime, timeout: Interval) {
        number += 1
        self.id = id
        nextSequence = 1
        acknowledgedThrough = 0
        opening = SessionOpening(openedAt: time, timeout: timeout)
    }

    /// Of the next mutation.
    mutating func takeHeader(_ kind: CommandKind, guards: [Guard] = []) -> CommandHeader {
        defer { nextSequence += 1 }
        return CommandHeader(
            kind: kind, session: id, sequence: nextSequence, acknowledgedThrough: acknowledgedThrough, opening: opening,
            guards: guards)
    }

    /// A mutation was answered. The replies of one session come in order.
    mutating func succeeded(in number: UInt64) {
        guard number == self.number else { return }
        acknowledgedThrough += 1
        opening = nil
    }
}
