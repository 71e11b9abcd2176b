internal import Basics
internal import ClientCore
internal import MetadataModel
internal import Wire

/// A snapshot as it comes: chunks in key order, then the manifest that names them all. What is in them is described by
/// the format of snapshots; whoever keeps them is to check them against each other.
public enum SnapshotPart: Hashable, Sendable {
    case chunk([UInt8])
    case manifest([UInt8])
}

extension MetadataClient {
    /// The revision of a state that holds every mutation that was answered before this was asked.
    public func currentRevision(timeout: Duration? = nil) async throws(ClientError) -> UInt64 {
        try await query(.get(key: [0]), .linearizable, nil, timeout) { revision, _, _ in revision }
    }

    /// Takes a snapshot away from one node, which pins its state for it while writes go on. The next part is fetched
    /// while `body` has the last; no more than these two are in memory.
    /// - Parameters:
    ///   - endpoint: HOST:PORT of any node's client port; it need not lead.
    ///   - revision: of the oldest state that will do; the node answers `unavailable` while it has not come so far.
    ///   - timeout: for each answer of the node.
    ///   - body: gets the parts in order. What it throws ends the transfer.
    /// - Returns: the revision of the state that the snapshot holds.
    @discardableResult
    public func snapshot(
        from endpoint: String, atLeast revision: UInt64 = 0, timeout: Duration? = nil,
        _ body: (SnapshotPart) async throws -> Void
    ) async throws -> UInt64 {
        let begun = try await call(.snapshot(atLeast: LogIndex(revision), address: endpoint), timeout)
        guard case .snapshot(let reply) = try Self.control(.snapshot, begun.body) else {
            throw ClientError.badReply(.invalid("snapshot"))
        }
        var number: UInt32 = 0
        var part = try await item(number, of: reply.snapshot, from: endpoint, timeout)
        while part.kind == .chunk {
            number += 1
            let nextNumber = number
            async let next = item(nextNumber, of: reply.snapshot, from: endpoint, timeout)
            try await body(.chunk(part.bytes))
            part = try await next
        }
        try await body(.manifest(part.bytes))
        return reply.revision.rawValue
    }

    private func item(
        _ number: UInt32, of snapshot: UInt64, from endpoint: String, _ timeout: Duration?
    ) async throws(ClientError) -> (kind: SnapshotPieceReply.Item, bytes: [UInt8]) {
        var bytes: [UInt8] = []
        while true {
            guard let offset = UInt32(exactly: bytes.count) else { throw .badReply(.tooLarge(UInt64(bytes.count))) }
            let request = SnapshotPieceRequest(snapshot: snapshot, item: number, offset: offset)
            let answer = try await call(.snapshotPiece(request, address: endpoint), timeout)
            guard case .snapshotPiece(let piece) = try Self.control(.snapshotPiece, answer.body) else {
                throw .badReply(.invalid("snapshotPiece"))
            }
            if bytes.isEmpty { bytes = piece.bytes } else { bytes += piece.bytes }
            if bytes.count == Int(piece.itemSize) { return (piece.item, bytes) }
            // Each piece must bring it nearer to its end.
            guard bytes.count < Int(piece.itemSize), !piece.bytes.isEmpty else {
                throw .badReply(.invalid("a piece of a snapshot"))
            }
        }
    }
}
