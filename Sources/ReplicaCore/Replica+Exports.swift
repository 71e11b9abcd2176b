internal import Basics
internal import MetadataModel
package import Wire

/// Snapshots that clients take away. A client asks for one and then for its pieces, one at a time; the node keeps the
/// state of that moment pinned meanwhile, at the cost of a view and one chunk.
extension Replica {
    mutating func beginExport(_ slot: ConnectionSlot, requestID: UInt64, atLeast: LogIndex) {
        if let error = refusalOfExport(slot, atLeast: atLeast) {
            return answer(slot, requestID, .snapshot, error: error)
        }
        clients.setExport(slot, .beginning)
        effects.exports.append(.begin(slot, requestID: requestID))
    }

    private func refusalOfExport(_ slot: ConnectionSlot, atLeast: LogIndex) -> ReplyError? {
        if isQuarantined { return quarantinedError }
        if isStopping { return ReplyError(.shuttingDown, "this node is stopping: ask another one") }
        guard appliedIndex >= atLeast else {
            return ReplyError(
                .unavailable, "\(settings.name) has applied entries through \(appliedIndex), not yet \(atLeast)",
                retryAfter: .milliseconds(20))
        }
        let open = clients.exportCount - (clients.export(slot) == .none ? 0 : 1)
        guard open < Limits.exportsMax, clients.export(slot) != .beginning else {
            return ReplyError(
                .overloaded, "\(Limits.exportsMax) snapshots are being taken from \(settings.name) at this moment",
                limit: UInt64(Limits.exportsMax), retryAfter: .seconds(1))
        }
        return nil
    }

    mutating func readExport(_ slot: ConnectionSlot, requestID: UInt64, _ request: SnapshotPieceRequest) {
        effects.exports.append(.read(slot, requestID: requestID, request))
    }

    /// - Parameter isOver: nothing is kept for this connection any more.
    package mutating func exportAnswered(
        _ slot: ConnectionSlot, requestID: UInt64, _ reply: ControlReply, isOver: Bool
    ) {
        clients.setExport(slot, isOver ? .none : .open)
        answer(slot, requestID, reply)
    }

    /// It was not used for too long, or the state under it was replaced.
    package mutating func exportEnded(_ slot: ConnectionSlot) { clients.setExport(slot, .none) }
}

/// For the threads behind the node; each `begin` and `read` is answered with `exportAnswered`.
package enum ExportWork: Sendable {
    /// Pin the state as it is applied.
    case begin(ConnectionSlot, requestID: UInt64)
    case read(ConnectionSlot, requestID: UInt64, SnapshotPieceRequest)
    /// The connection is gone.
    case end(ConnectionSlot)
}

/// Whether a connection takes a snapshot away.
enum ExportState: Hashable, Sendable {
    case none, beginning, open
}
