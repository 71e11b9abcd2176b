package import Basics
package import MetadataModel
internal import RaftCore

/// What this replica has done since it started; numbers only rise.
package struct ReplicaCounters: Sendable {
    /// Requests that clients have sent, of every kind.
    package private(set) var requests: UInt64 = 0
    /// Commands that this node has appended to the log as the leader, its own housekeeping included.
    package private(set) var proposals: UInt64 = 0
    /// Of these, the ones that were applied under this node's lead.
    package private(set) var writes: UInt64 = 0
    /// Queries answered from this node's state.
    package private(set) var reads: UInt64 = 0
    /// Requests that this node itself turned down, by the code's raw value.
    private var refusals: [UInt64] = []
    /// Each command, from the closing of its batch to its commit: what the disks and the network take.
    package private(set) var commitLatencies = LatencyHistogram()
    /// Each command, from the arrival of the first of its batch to its reply.
    package private(set) var writeLatencies = LatencyHistogram()

    /// Batches of the present reign, oldest first; a command costs nothing here, a batch one element.
    private var batches: [Batch] = []
    private var committedBatchCount = 0
    /// When the first command of the open batch came.
    private var batchBeganAt = Instant.zero

    private struct Batch {
        var through: LogIndex
        var count: UInt64
        var beganAt: Instant
        var proposedAt: Instant
    }

    /// In the order of the codes; those that never occurred are there too, so that a rate can be told from the first on.
    package var refusalsByCode: [(code: ErrorCode, count: UInt64)] {
        ErrorCode.allCases.map { code in
            (code, Int(code.rawValue) < refusals.count ? refusals[Int(code.rawValue)] : 0)
        }
    }

    mutating func requestCame() { requests &+= 1 }
    mutating func readsAnswered(_ count: Int) { reads &+= UInt64(count) }

    mutating func refused(_ code: ErrorCode) {
        let position = Int(code.rawValue)
        while refusals.count <= position { refusals.append(0) }
        refusals[position] &+= 1
    }

    // MARK: Batches

    mutating func batchBegan(at now: Instant) { batchBeganAt = now }

    mutating func batchProposed(through index: LogIndex, count: Int, at now: Instant) {
        proposals &+= UInt64(count)
        batches.append(
            Batch(through: index, count: UInt64(count), beganAt: batchBeganAt, proposedAt: now))
    }

    mutating func committed(through index: LogIndex, at now: Instant) {
        while committedBatchCount < batches.count, batches[committedBatchCount].through <= index {
            let batch = batches[committedBatchCount]
            commitLatencies.record(now - batch.proposedAt, count: batch.count)
            committedBatchCount += 1
        }
    }

    mutating func applied(through index: LogIndex, at now: Instant) {
        guard let first = batches.first, first.through <= index else { return }
        committed(through: index, at: now)
        var doneCount = 0
        while doneCount < batches.count, batches[doneCount].through <= index {
            writeLatencies.record(now - batches[doneCount].beganAt, count: batches[doneCount].count)
            writes &+= batches[doneCount].count
            doneCount += 1
        }
        committedBatchCount -= doneCount
        batches.removeFirst(doneCount)
    }

    /// What is not applied by now may never be, or under another leader.
    mutating func reignEnded() {
        batches.removeAll()
        committedBatchCount = 0
    }
}

/// A moment of the replica, beside what `statusReply` tells.
package struct ReplicaFigures: Sendable {
    package var counters: ReplicaCounters
    package var clientConnections: Int
    package var watches: Int
    /// Sent to watches, and not yet read by their clients.
    package var watchBytesUnderWay: Int
    /// Requests of this node without a reply.
    package var requestsPending: Int
    /// Of these, commands that wait for their entry to be applied.
    package var writesPending: Int
    /// The state is durable through here.
    package var durableIndex: LogIndex
    /// Nil where no leader is known.
    package var leaderSilence: Interval?
    /// To which other members this node has a connection.
    package var peers: [(id: NodeID, isConnected: Bool)]
}

extension Replica {
    package func figures(at now: Instant) -> ReplicaFigures {
        ReplicaFigures(
            counters: counters, clientConnections: clients.openCount, watches: hub.count,
            watchBytesUnderWay: hub.bytesUnderWay, requestsPending: requestCount,
            writesPending: pending.count + openRequesters.count { $0 != nil }, durableIndex: durableApplied,
            leaderSilence: raft.leaderSilence(at: now), peers: links.links.map { ($0.id, $0.isUp) })
    }
}
