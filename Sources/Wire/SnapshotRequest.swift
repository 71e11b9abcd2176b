package import Basics
internal import MetadataModel

/// Asks for a part of a snapshot that the node keeps ready for this connection since `snapshot`. Items 0 … n − 1 are
/// its chunks in order, item n is the manifest; an item that does not fit into one frame comes in pieces.
package struct SnapshotPieceRequest: Hashable, Sendable {
    /// As the reply to `snapshot` named it.
    package var snapshot: UInt64
    package var item: UInt32
    /// In the item, where the piece begins.
    package var offset: UInt32

    package init(snapshot: UInt64, item: UInt32, offset: UInt32) {
        self.snapshot = snapshot
        self.item = item
        self.offset = offset
    }

    package func encode(requestID: UInt64, into writer: inout ByteWriter) {
        let start = writer.beginFrame(FrameHeader(kind: ClientFrameKind.snapshotPiece.rawValue, requestID: requestID))
        writer.write(snapshot)
        writer.write(item)
        writer.write(offset)
        writer.endFrame(start)
    }

    init(decoding reader: inout ByteReader) throws(DecodeError) {
        snapshot = try reader.readUInt64()
        item = try reader.readUInt32()
        offset = try reader.readUInt32()
    }
}

extension ClientRequest {
    /// - Parameter atLeast: the snapshot is of a state of at least this revision.
    package static func encodeSnapshot(requestID: UInt64, atLeast: LogIndex, into writer: inout ByteWriter) {
        let start = writer.beginFrame(FrameHeader(kind: ClientFrameKind.snapshot.rawValue, requestID: requestID))
        writer.write(atLeast.rawValue)
        writer.endFrame(start)
    }
}

/// A snapshot is ready to be asked for.
package struct SnapshotReply: Hashable, Sendable {
    /// Of the state that it holds.
    package var revision: LogIndex
    /// Names it in the requests for its pieces, on this connection.
    package var snapshot: UInt64

    package init(revision: LogIndex, snapshot: UInt64) {
        self.revision = revision
        self.snapshot = snapshot
    }
}

package struct SnapshotPieceReply: Hashable, Sendable {
    package enum Item: UInt8, Hashable, Sendable {
        case chunk = 0
        case manifest = 1
    }
    package var revision: LogIndex
    package var item: Item
    /// Of the whole item; there is more to ask for when the piece ends before.
    package var itemSize: UInt32
    package var bytes: [UInt8]

    package init(revision: LogIndex, item: Item, itemSize: UInt32, bytes: [UInt8]) {
        self.revision = revision
        self.item = item
        self.itemSize = itemSize
        self.bytes = bytes
    }

    func encodeFields(into writer: inout ByteWriter) {
        writer.write(item.rawValue)
        writer.write(itemSize)
        writer.write(bytes)
    }

    init(decoding reader: inout ByteReader, revision: LogIndex) throws(DecodeError) {
        self.revision = revision
        let number = try reader.readUInt8()
        guard let item = Item(rawValue: number) else { throw .unknown("snapshot item", UInt64(number)) }
        self.item = item
        itemSize = try reader.readUInt32()
        bytes = [UInt8](reader.readRemaining())
        guard bytes.count <= itemSize else { throw .invalid("a piece larger than its item") }
    }
}
