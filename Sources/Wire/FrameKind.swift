/// What a client and a node say to each other. A reply has the kind of its request and the flag `reply`.
/// Numbers are forever: 1 … 255 here, 256 … 511 between nodes; a retired one stays retired.
package enum ClientFrameKind: UInt16, Hashable, Sendable, CaseIterable {
    /// First on every connection: versions, the cluster that is meant.
    case hello = 1
    /// A command; its bytes go into the log as they are.
    case mutate = 2
    case query = 3
    /// Keeps sessions alive.
    case keepAlive = 4
    case status = 5
    /// Forms the cluster, once.
    case initialize = 6
    /// Asks whether the connection works; the reply tells the cluster time.
    case ping = 7
    /// Sent by a node on its own: it is about to close the connection.
    case goingAway = 8
    /// Changes who the members are, or which of them leads.
    case changeMembers = 9
    /// Asks for changes as they come.
    case watch = 10
    /// The client has read some of them.
    case watchCredit = 11
    case watchCancel = 12
    /// Pins the node's state, to be taken away piece by piece.
    case snapshot = 32
    case snapshotPiece = 33
    /// Forgets alarms whose cause is over, at the node that is asked.
    case clearAlarm = 34
    /// Has the node that is asked read every byte that it keeps.
    case scrub = 35
}

/// What two nodes say to each other, on the peer port only.
package enum PeerFrameKind: UInt16, Hashable, Sendable, CaseIterable {
    /// First on every connection: who calls, and whom it expects to reach.
    case hello = 256
    case ping = 257
    /// A `RaftCore` message; the bytes of the records follow an AppendEntries.
    case raft = 258
    /// A client's command, on its way to the leader.
    case forwardedMutation = 259
    /// Sessions that clients of the sender have kept alive.
    case sessionTouches = 260
    case digestReport = 261
    case memberReport = 262
    case snapshotManifest = 263
    case snapshotChunk = 264
    case foundingProbe = 265
    case foundingCommit = 266
    /// Entries for a node whose log is damaged.
    case logEntries = 267
    /// Term and last entry, for a node that has lost its own.
    case promises = 268
}
