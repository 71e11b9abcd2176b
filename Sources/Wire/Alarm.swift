package import Basics

/// Something that a person should look at, as one node tells it. Name, detail and remedy are text, so that an older
/// client shows the alarms of a newer node.
package struct Alarm: Hashable, Sendable {
    /// A status lists at most this many.
    package static let countMax = 256
    package static let detailSizeMax = 1_024

    package var name: String
    /// The member that it is about; mostly the one that tells it.
    package var node: String
    /// When it was first seen, by the wall clock of the node that tells it.
    package var since: ClusterTime
    /// Its cause goes on. One whose cause is over stands until a person clears it.
    package var isActive: Bool
    package var detail: String
    package var remedy: String

    package init(name: String, node: String, since: ClusterTime, isActive: Bool, detail: String, remedy: String) {
        self.name = name
        self.node = node
        self.since = since
        self.isActive = isActive
        self.detail = detail
        self.remedy = remedy
    }
}

extension Alarm {
    func encode(into writer: inout ByteWriter) {
        writer.writeText(name)
        writer.writeText(node)
        writer.write(since.nanoseconds)
        writer.write(isActive)
        writer.writeText(detail, max: Self.detailSizeMax)
        writer.writeText(remedy, max: Self.detailSizeMax)
    }

    init(decoding reader: inout ByteReader) throws(DecodeError) {
        name = try reader.readText()
        node = try reader.readText()
        since = ClusterTime(nanoseconds: try reader.readUInt64())
        isActive = try reader.readBool()
        detail = try reader.readString16(max: Self.detailSizeMax)
        remedy = try reader.readString16(max: Self.detailSizeMax)
    }
}

/// Asks one node to forget the alarms of a name whose cause is over: somebody has seen them. Body: text name.
package enum AlarmClearing {
    package static func encode(_ name: String, requestID: UInt64, into writer: inout ByteWriter) {
        let start = writer.beginFrame(FrameHeader(kind: ClientFrameKind.clearAlarm.rawValue, requestID: requestID))
        writer.writeText(name)
        writer.endFrame(start)
    }
}

package struct AlarmClearedReply: Hashable, Sendable {
    package var revision: LogIndex
    /// How many alarms of that name stood there.
    package var count: UInt16

    package init(revision: LogIndex, count: UInt16) {
        self.revision = revision
        self.count = count
    }
}
