package import Basics

/// A prefix under which previous values are kept, from a revision on: what changes after it is logged with what was
/// there before. As an item of a list: `u16 size, prefix | u64 since | u64 time, ns`.
package struct HistoryPrefix: ListItem {
    package var prefix: [UInt8]
    /// The revision that switched it on. Switching it on again leaves it as it is.
    package var since: LogIndex
    /// Cluster time of that revision.
    package var time: ClusterTime

    package init(prefix: [UInt8], since: LogIndex, time: ClusterTime) {
        self.prefix = prefix
        self.since = since
        self.time = time
    }

    package func encodeItem(into writer: inout ByteWriter) {
        writer.writeBytes16(prefix)
        writer.write(since.rawValue)
        writer.write(time.nanoseconds)
    }

    package init(decodingItem reader: inout ByteReader) throws(DecodeError) {
        prefix = [UInt8](try reader.readBytes16(max: Limits.keySizeMax))
        since = LogIndex(try reader.readUInt64())
        time = ClusterTime(nanoseconds: try reader.readUInt64())
    }
}

/// Switches history on or off for a prefix: `u8 on | u16 size, prefix`.
package struct SetHistoryBody: Hashable, Sendable {
    package let isOn: Bool
    package let prefix: [UInt8]

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        isOn = try reader.readBool()
        prefix = [UInt8](try reader.readBytes16(max: Limits.keySizeMax))
    }
}

/// What that answers: `u8 changed | u64 since, 0: off`.
package struct SetHistoryResult: Hashable, Sendable {
    /// False: it was as it is.
    package var isChanged: Bool
    package var since: LogIndex

    package init(isChanged: Bool, since: LogIndex) {
        self.isChanged = isChanged
        self.since = since
    }

    package func encode(into writer: inout ByteWriter) {
        writer.write(isChanged)
        writer.write(since.rawValue)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        isChanged = try reader.readBool()
        since = LogIndex(try reader.readUInt64())
    }
}

/// Since when there is history: `u64 since | u64 its cluster time, ns | u8 of all keys`.
package struct HistoryCoverage: Hashable, Sendable {
    package var since: LogIndex
    package var time: ClusterTime
    /// Of every key that begins with the prefix that was asked for; else of some.
    package var isWhole: Bool

    package init(since: LogIndex, time: ClusterTime, isWhole: Bool) {
        self.since = since
        self.time = time
        self.isWhole = isWhole
    }

    package func encode(into writer: inout ByteWriter) {
        writer.write(since.rawValue)
        writer.write(time.nanoseconds)
        writer.write(isWhole)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        since = LogIndex(try reader.readUInt64())
        time = ClusterTime(nanoseconds: try reader.readUInt64())
        isWhole = try reader.readBool()
    }
}

/// Who made an entry of the log, and when: `16 B session | u64 principal | u64 cluster time, ns`.
package struct ChangeOrigin: Hashable, Sendable {
    /// All zero: the cluster itself, which ends sessions.
    package var session: SessionID
    /// As authenticated by the node that took the request; 0: nobody.
    package var principal: UInt64
    package var time: ClusterTime

    package init(session: SessionID, principal: UInt64, time: ClusterTime) {
        self.session = session
        self.principal = principal
        self.time = time
    }

    package static let size = 32

    package func encode(into writer: inout ByteWriter) {
        writer.write(session)
        writer.write(principal)
        writer.write(time.nanoseconds)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        session = try reader.readSessionID()
        principal = try reader.readUInt64()
        time = ClusterTime(nanoseconds: try reader.readUInt64())
    }
}

/// What query 14 answers: a revision from which a moment can be found in the log, and where this node's state is.
///
///     u64 revision | u64 its cluster time, ns | u64 cluster time of the newest revision, ns
package struct MomentResult: Hashable, Sendable {
    /// The newest revision known to be at or before the moment: revisions after it may be so too, fewer than
    /// `Limits.timeMarkInterval` of them.
    package var revision: LogIndex
    package var time: ClusterTime
    package var newestTime: ClusterTime

    package init(revision: LogIndex, time: ClusterTime, newestTime: ClusterTime) {
        self.revision = revision
        self.time = time
        self.newestTime = newestTime
    }

    package func encode(into writer: inout ByteWriter) {
        writer.write(revision.rawValue)
        writer.write(time.nanoseconds)
        writer.write(newestTime.nanoseconds)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        revision = LogIndex(try reader.readUInt64())
        time = ClusterTime(nanoseconds: try reader.readUInt64())
        newestTime = ClusterTime(nanoseconds: try reader.readUInt64())
    }
}

/// What changed under some keys since a revision, in its last form: rows that were put, and keys that are gone. A part
/// of it, as query 13 answers:
///
///     u64 view, 0 none | u8 more | u16 size, cursor | u32 count
///     | items: u16 size, key | u64 revision | u8 1 put: u32 size, value; 0 deleted
///
/// First everything that is there, then everything that is gone, each in key order.
package struct DeltaPage: Hashable, Sendable {
    package struct Item: Hashable, Sendable {
        package var key: [UInt8]
        package var revision: LogIndex
        /// Nil: there is no such row any more.
        package var value: [UInt8]?

        package init(key: [UInt8], revision: LogIndex, value: [UInt8]?) {
            self.key = key
            self.revision = revision
            self.value = value
        }
    }

    package var view: UInt64
    package var hasMore: Bool
    /// For the next part; nothing but the service reads it.
    package var cursor: [UInt8]
    package var items: [Item]

    package init(view: UInt64, hasMore: Bool, cursor: [UInt8], items: [Item]) {
        self.view = view
        self.hasMore = hasMore
        self.cursor = cursor
        self.items = items
    }

    package func encode(into writer: inout ByteWriter) {
        writer.write(view)
        writer.write(hasMore)
        writer.writeBytes16(cursor)
        writer.write(UInt32(clamping: items.count))
        for item in items {
            writer.writeBytes16(item.key)
            writer.write(item.revision.rawValue)
            writer.write(item.value != nil)
            if let value = item.value { writer.writeBytes32(value) }
        }
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        view = try reader.readUInt64()
        hasMore = try reader.readBool()
        cursor = [UInt8](try reader.readBytes16(max: Limits.keySizeMax + 1))
        items = []
        for _ in 0..<(try reader.readCount32(itemSizeMin: 11)) {
            let key = [UInt8](try reader.readBytes16(max: Limits.keySizeMax))
            let revision = LogIndex(try reader.readUInt64())
            let value = try reader.readBool() ? [UInt8](try reader.readBytes32(max: Limits.valueSizeMaxCeiling)) : nil
            items.append(Item(key: key, revision: revision, value: value))
        }
    }
}
