package import Basics
package import MetadataMachine
package import MetadataModel
package import ReplicaCore
internal import Snapshots
package import StateEngine
package import Wire

/// Snapshots on their way to clients, each made chunk by chunk from a pinned view as it is asked for: nothing is
/// written to disk, and no more than two chunks of each are in memory. Blocking; on a thread of its own.
package final class SnapshotExports<View: EngineView> {
    private struct Export {
        let slot: ConnectionSlot
        let number: UInt64
        let revision: LogIndex
        let builder: SnapshotBuilder<View>
        let begunAt: Instant
        var usedAt: Instant
        /// What was asked for last, whole: a piece may be asked for again.
        var item: Item?
        /// What comes after it, made while the client is busy with the last.
        var next: Result<Item, SnapshotError>?
    }

    private struct Item {
        var number: UInt32
        var kind: SnapshotPieceReply.Item
        var bytes: [UInt8]
    }

    private let cluster: ClusterIdentity
    private let founding: Membership
    private var exports: [Export] = []
    private var lastNumber: UInt64 = 0

    package init(cluster: ClusterIdentity, founding: Membership) {
        self.cluster = cluster
        self.founding = founding
    }

    /// Takes the place of what the connection had begun before.
    package func begin(_ slot: ConnectionSlot, _ source: SnapshotSource<View>, now: Instant) -> SnapshotReply {
        end(slot)
        lastNumber += 1
        let builder = SnapshotBuilder(
            source.view, ranges: Keyspace.carried, head: source.head(of: cluster, founding: founding))
        let revision = source.applied.last.index
        exports.append(
            Export(slot: slot, number: lastNumber, revision: revision, builder: builder, begunAt: now, usedAt: now))
        return SnapshotReply(revision: revision, snapshot: lastNumber)
    }

    /// - Returns: the answer, and whether the snapshot was given to its end or cannot be gone on with.
    package func read(
        _ slot: ConnectionSlot, _ request: SnapshotPieceRequest, now: Instant
    ) -> (reply: ControlReply, isOver: Bool) {
        guard let place = exports.firstIndex(where: { $0.slot == slot && $0.number == request.snapshot }) else {
            let isOver = !exports.contains { $0.slot == slot }
            let error = ReplyError(
                .viewReleased, "the node does not keep this snapshot any longer: it was not asked for in time, or the "
                    + "node's state was replaced. Begin again")
            return (.failed(error, .snapshotPiece), isOver)
        }
        exports[place].usedAt = now
        do throws(SnapshotError) {
            try advance(place, to: request.item)
        } catch {
            exports.remove(at: place)
            return (.failed(ReplyError(.unavailable, "the state cannot be read: \(error)"), .snapshotPiece), true)
        }
        let export = exports[place]
        guard let item = export.item, item.number == request.item, Int(request.offset) <= item.bytes.count else {
            let error = ReplyError(.invalidRequest, "the parts of a snapshot are given in order, each once")
            return (.failed(error, .snapshotPiece), false)
        }
        let end = min(item.bytes.count, Int(request.offset) + Limits.snapshotPieceSizeMax)
        let range = Int(request.offset)..<end
        let piece = SnapshotPieceReply(
            revision: export.revision, item: item.kind, itemSize: UInt32(item.bytes.count),
            bytes: range == item.bytes.indices ? item.bytes : Array(item.bytes[range]))
        let isOver = item.kind == .manifest && end == item.bytes.count
        if isOver { exports.remove(at: place) }
        return (.snapshotPiece(piece), isOver)
    }

    /// Makes what the client will ask for next, unless it is there.
    package func prepareNext(_ slot: ConnectionSlot) {
        guard let place = exports.firstIndex(where: { $0.slot == slot }) else { return }
        let export = exports[place]
        guard export.next == nil, export.item?.kind != .manifest else { return }
        let number = export.item.map { $0.number + 1 } ?? 0
        exports[place].next = Result { () throws(SnapshotError) in
            if let chunk = try export.builder.nextChunk() {
                return Item(number: number, kind: .chunk, bytes: chunk.bytes)
            }
            return Item(number: number, kind: .manifest, bytes: export.builder.manifest().encoded())
        }
    }

    private func advance(_ place: Int, to number: UInt32) throws(SnapshotError) {
        let last = exports[place].item
        guard number == (last.map { $0.number + 1 } ?? 0), last?.kind != .manifest else { return }
        prepareNext(exports[place].slot)
        guard let next = exports[place].next else { return }
        exports[place].next = nil
        exports[place].item = try next.get()
    }

    package func end(_ slot: ConnectionSlot) { exports.removeAll { $0.slot == slot } }

    /// Lets go of those that were not asked for in time, or are too old.
    /// - Returns: the connections that they were for.
    package func expire(now: Instant) -> [ConnectionSlot] {
        let expired = exports.filter {
            now - $0.usedAt > Limits.exportIdleMax || now - $0.begunAt > Limits.viewAgeMax
        }
        exports.removeAll { export in expired.contains { $0.number == export.number } }
        return expired.map(\.slot)
    }

    package func endAll() -> [ConnectionSlot] {
        defer { exports.removeAll() }
        return exports.map(\.slot)
    }
}
