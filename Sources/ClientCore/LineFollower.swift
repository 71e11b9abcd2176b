package import Basics
package import MetadataModel

/// A place in a line: a candidate of an election, or a ticket of a lock.
package protocol LineRow: Hashable, Sendable {
    static var table: FeedTable { get }
    var ticket: LogIndex { get }
    /// With which it goes.
    var session: SessionID { get }
    /// Of leading or holding; 0 while others come first.
    var fence: UInt64 { get }
    init(ticket: LogIndex, decodingRow reader: inout ByteReader) throws(DecodeError)
}

extension Candidate: LineRow {
    package static var table: FeedTable { .elections }
}

extension LockTicket: LineRow {
    package static var table: FeedTable { .locks }
}

/// What an entry left at one place of a line, read from the change that tells of it. The key of such a change is
/// `name 00 | u64 ticket`, big-endian.
package struct LineChange<Row: LineRow>: Hashable, Sendable {
    package var name: [UInt8]
    package var ticket: LogIndex
    /// Nil: the place was given up, or its session has ended.
    package var row: Row?

    package init(_ change: Change) throws(DecodeError) {
        guard change.key.count > LineKey.suffixSize, change.key[change.key.count - LineKey.suffixSize] == 0 else {
            throw .invalid("key of a place in a line")
        }
        name = Array(change.key.dropLast(LineKey.suffixSize))
        ticket = LogIndex(change.key.suffix(8).reduce(0 as UInt64) { $0 << 8 | UInt64($1) })
        guard let value = change.value else { return }
        guard !change.isValueLeftOut else { throw .invalid("a place in a line without its row") }
        var reader = ByteReader(value.rawSpan)
        row = try Row(ticket: ticket, decodingRow: &reader)
    }
}

/// Where the rows of a line are, as a watch names them.
package enum LineKey {
    static let suffixSize = 9

    /// Keys of all tickets of a name begin with this.
    package static func line(_ name: [UInt8]) -> [UInt8] { name + [0] }

    package static func ticket(_ ticket: LogIndex, of name: [UInt8]) -> [UInt8] {
        let number = ticket.rawValue
        return line(name) + (0..<8).map { UInt8(truncatingIfNeeded: number >> (56 - 8 * $0)) }
    }
}

/// An entry of the State API, read from the change that tells of it.
package struct StateEntryChange: Hashable, Sendable {
    package var name: [UInt8]
    /// Nil: expunged.
    package var entry: StateEntry?

    package init(_ change: Change) throws(DecodeError) {
        name = change.key
        guard let value = change.value else { return }
        guard !change.isValueLeftOut else { throw .invalid("a state entry without its row") }
        var reader = ByteReader(value.rawSpan)
        entry = try StateEntry(decodingRow: &reader)
    }
}

/// Who leads a group, or who holds a lock: known from a read of the line, and from the changes after it. Those who
/// wait are not kept, however many they are.
package struct LineFollower<Row: LineRow>: Sendable {
    package let name: [UInt8]
    /// In the order of their tickets. Of an election: one or none.
    package private(set) var holders: [Row] = []
    /// All that was read and told is of no later revision.
    package private(set) var revision = LogIndex.zero
    /// What was told last.
    private var told: [Row]?
    /// A line that was read in parts is of one revision once the changes through the last part have been seen. Nil:
    /// nothing has been read.
    private var wholeFrom: LogIndex?

    /// The watch begins after this revision.
    package private(set) var watchedAfter = LogIndex.zero

    package init(name: [UInt8]) { self.name = name }

    /// Takes over what a read has shown. A line of many holders comes in parts, each of its own revision: changes
    /// after the first are to follow.
    /// - Parameter isFirst: what was known before is forgotten.
    package mutating func read(_ rows: [Row], at revision: LogIndex, isFirst: Bool) {
        if isFirst {
            holders = []
            watchedAfter = revision
            self.revision = revision
        }
        wholeFrom = revision
        holders += rows.filter { $0.fence > 0 }
    }

    /// Takes over what one revision changed, or nothing in a mark that says how far the watch has come.
    package mutating func apply(_ changes: [Change], at revision: LogIndex) throws(DecodeError) {
        self.revision = max(self.revision, revision)
        for change in changes {
            let change = try LineChange<Row>(change)
            guard change.name == name else { continue }
            holders.removeAll { $0.ticket == change.ticket }
            guard let row = change.row, row.fence > 0 else { continue }
            let position = holders.firstIndex { $0.ticket > row.ticket } ?? holders.count
            holders.insert(row, at: position)
        }
    }

    /// Those who hold now, if that is news.
    package mutating func takeNews() -> (revision: LogIndex, holders: [Row])? {
        guard let wholeFrom, revision >= wholeFrom, told != holders else { return nil }
        told = holders
        return (revision, holders)
    }
}
