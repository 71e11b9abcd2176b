package import Basics

/// What `campaign` and `acquireLock` answer: `u64 ticket | u64 fence`.
package struct TicketResult: Hashable, Sendable {
    package var ticket: LogIndex
    /// 0: others come first.
    package var fence: UInt64

    package init(ticket: LogIndex, fence: UInt64) {
        self.ticket = ticket
        self.fence = fence
    }

    package func encode(into writer: inout ByteWriter) {
        writer.write(ticket.rawValue)
        writer.write(fence)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        ticket = LogIndex(try reader.readUInt64())
        fence = try reader.readUInt64()
    }
}

/// What `validate` answers: `u8 holds | u64 current fence`.
package struct GuardResult: Hashable, Sendable {
    package var holds: Bool
    /// Of who leads the group or is first to hold the lock; 0: nobody.
    package var currentFence: UInt64

    package init(holds: Bool, currentFence: UInt64) {
        self.holds = holds
        self.currentFence = currentFence
    }

    package func encode(into writer: inout ByteWriter) {
        writer.write(holds)
        writer.write(currentFence)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        holds = try reader.readBool()
        currentFence = try reader.readUInt64()
    }
}

/// An open session, as an operator sees it: `16 B session | u32 timeout, ms | u64 opened at, ns | u32 rows that it owns`
package struct SessionInfo: Hashable, Sendable {
    package var id: SessionID
    package var timeout: Interval
    /// What its opening named.
    package var openedAt: ClusterTime
    /// Records, tickets and locks that go with it.
    package var ownedCount: UInt32

    package init(id: SessionID, timeout: Interval, openedAt: ClusterTime, ownedCount: UInt32) {
        self.id = id
        self.timeout = timeout
        self.openedAt = openedAt
        self.ownedCount = ownedCount
    }
}

/// Part of a list, in order: `u8 more | u32 count | items`.
package struct ListPart<Item: ListItem>: Hashable, Sendable {
    package var hasMore: Bool
    package var items: [Item]

    package init(hasMore: Bool, items: [Item]) {
        self.hasMore = hasMore
        self.items = items
    }

    package func encode(into writer: inout ByteWriter) {
        writer.write(hasMore)
        writer.write(UInt32(clamping: items.count))
        for item in items { item.encodeItem(into: &writer) }
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        hasMore = try reader.readBool()
        items = []
        for _ in 0..<(try reader.readCount32(itemSizeMin: 2)) { items.append(try Item(decodingItem: &reader)) }
    }
}

package protocol ListItem: Hashable, Sendable {
    func encodeItem(into writer: inout ByteWriter)
    init(decodingItem reader: inout ByteReader) throws(DecodeError)
}

/// `u64` ticket, then its row.
extension Candidate: ListItem {
    package func encodeItem(into writer: inout ByteWriter) {
        writer.write(ticket.rawValue)
        encodeRow(into: &writer)
    }

    package init(decodingItem reader: inout ByteReader) throws(DecodeError) {
        let ticket = LogIndex(try reader.readUInt64())
        try self.init(ticket: ticket, decodingRow: &reader)
    }
}

/// `u64` ticket, then its row.
extension LockTicket: ListItem {
    package func encodeItem(into writer: inout ByteWriter) {
        writer.write(ticket.rawValue)
        encodeRow(into: &writer)
    }

    package init(decodingItem reader: inout ByteReader) throws(DecodeError) {
        let ticket = LogIndex(try reader.readUInt64())
        try self.init(ticket: ticket, decodingRow: &reader)
    }
}

extension SessionInfo: ListItem {
    package func encodeItem(into writer: inout ByteWriter) {
        writer.write(id)
        writer.write(UInt32(clamping: timeout.nanoseconds / 1_000_000))
        writer.write(openedAt.nanoseconds)
        writer.write(ownedCount)
    }

    package init(decodingItem reader: inout ByteReader) throws(DecodeError) {
        id = try reader.readSessionID()
        timeout = .milliseconds(Int64(try reader.readUInt32()))
        openedAt = ClusterTime(nanoseconds: try reader.readUInt64())
        ownedCount = try reader.readUInt32()
    }
}

/// The name of a State API entry: `u16 size, name`.
package struct StateName: ListItem {
    package var bytes: [UInt8]

    package init(_ bytes: [UInt8]) { self.bytes = bytes }

    package func encodeItem(into writer: inout ByteWriter) { writer.writeBytes16(bytes) }

    package init(decodingItem reader: inout ByteReader) throws(DecodeError) {
        bytes = [UInt8](try reader.readBytes16(max: Limits.nameSizeMax))
    }
}
