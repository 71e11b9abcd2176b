package import Basics
package import MetadataModel

/// Which changes a watch leaves out.
package struct WatchFilter: OptionSet, Hashable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    package static let noPuts = WatchFilter(rawValue: 1)
    package static let noDeletes = WatchFilter(rawValue: 2)
    /// Puts come without their values.
    package static let keysOnly = WatchFilter(rawValue: 4)

    // Not filters: what is told besides. Without these bits the frames are as they were before there was any of it.

    /// Where history is kept: whether there was a row before, and its revision.
    package static let before = WatchFilter(rawValue: 8)
    /// With `before`: its value too.
    package static let valuesBefore = WatchFilter(rawValue: 16)
    /// Of each revision, who made it and when.
    package static let origins = WatchFilter(rawValue: 32)

    package var detail: ChangeDetail {
        var detail: ChangeDetail = contains(.keysOnly) ? [] : .value
        if contains(.before) {
            detail.insert(.before)
            if contains(.valuesBefore) { detail.insert(.valueBefore) }
        }
        return detail
    }
}

/// Asks for the changes under some keys, from a revision on. The request's id names the watch on its connection;
/// replies with the flag *more to come* follow until the one without it.
///
///     u8 table | `KeySpan` | u64 from, 0: from now on | u64 at least | u8 filter | u32 progress interval, ms, 0: none
///     | u32 credit, bytes
package struct WatchRequest: Hashable, Sendable {
    /// A `FeedTable`; kept as a number, so that one that is not known can be answered.
    package var table: UInt8
    package var span: KeySpan
    /// The first revision that is wanted; 0: what comes from now on.
    package var from: LogIndex
    /// The watch begins at no older state: a client that changes nodes does not go back in time.
    package var atLeast: LogIndex
    package var filter: WatchFilter
    /// While nothing changes, the node says this often how far it has looked.
    package var progressInterval: Interval
    /// Bytes of frames that may be on their way before the client says that it has read some.
    package var credit: UInt32

    package init(
        table: UInt8 = FeedTable.records.rawValue, span: KeySpan, from: LogIndex = .zero, atLeast: LogIndex = .zero,
        filter: WatchFilter = [], progressInterval: Interval = .zero,
        credit: UInt32 = UInt32(Limits.watchCreditDefault)
    ) {
        self.table = table
        self.span = span
        self.from = from
        self.atLeast = atLeast
        self.filter = filter
        self.progressInterval = progressInterval
        self.credit = credit
    }

    package func encode(requestID: UInt64, into writer: inout ByteWriter) {
        let start = writer.beginFrame(FrameHeader(kind: ClientFrameKind.watch.rawValue, requestID: requestID))
        writer.write(table)
        span.encode(into: &writer)
        writer.write(from.rawValue)
        writer.write(atLeast.rawValue)
        writer.write(filter.rawValue)
        writer.write(UInt32(clamping: progressInterval.nanoseconds / 1_000_000))
        writer.write(credit)
        writer.endFrame(start)
    }

    init(decoding reader: inout ByteReader) throws(DecodeError) {
        table = try reader.readUInt8()
        span = try KeySpan(decoding: &reader)
        from = try reader.readLogIndex()
        atLeast = try reader.readLogIndex()
        filter = WatchFilter(rawValue: try reader.readUInt8())
        progressInterval = .milliseconds(Int64(try reader.readUInt32()))
        credit = try reader.readUInt32()
    }
}

extension ClientRequest {
    /// The client has read so many bytes of the frames of its watch. There is no reply.
    package static func encodeWatchCredit(requestID: UInt64, bytes: UInt32, into writer: inout ByteWriter) {
        let start = writer.beginFrame(FrameHeader(kind: ClientFrameKind.watchCredit.rawValue, requestID: requestID))
        writer.write(bytes)
        writer.endFrame(start)
    }

    /// The watch of that id is to end; its last frame says so.
    package static func encodeWatchCancel(requestID: UInt64, into writer: inout ByteWriter) {
        encodeEmpty(.watchCancel, requestID: requestID, into: &writer)
    }
}

/// A frame of a watch. After code 0 and a revision:
///
///     u8 1 created    u64 feed floor, the oldest revision that a watch could begin with here
///     u8 2 changes    u8 flags: 1 the last revision goes on in the next frame; 2 with origins
///                     | u64 revision | [`ChangeOrigin`] | u32 count | count × `Change`, to the end of the body
///     u8 3 progress
///
/// *Created*: changes after the revision follow. *Changes*, *progress*: those of all revisions through this one have
/// come, but for one that goes on.
package enum WatchEvent: Hashable, Sendable {
    case created(revision: LogIndex, floor: LogIndex)
    case changes([RevisionChanges], through: LogIndex, goesOn: Bool)
    case progress(through: LogIndex)
    /// The node has ended the watch: with an error, or because it was told to.
    case failed(ReplyError)

    package struct RevisionChanges: Hashable, Sendable {
        package var revision: LogIndex
        /// Nil where it was not asked for.
        package var origin: ChangeOrigin?
        package var changes: [Change]

        package init(revision: LogIndex, origin: ChangeOrigin? = nil, changes: [Change]) {
            self.revision = revision
            self.origin = origin
            self.changes = changes
        }
    }

    package init(decoding body: RawSpan) throws(DecodeError) {
        var reader = ByteReader(body)
        let through: LogIndex
        switch try ReplyHead(decoding: &reader) {
        case .failure(let error, _):
            self = .failed(error)
            return
        case .success(let revision): through = revision
        }
        let form = try reader.readUInt8()
        switch form {
        case 1: self = .created(revision: through, floor: try reader.readLogIndex())
        case 2:
            let flags = try reader.readUInt8()
            let goesOn = flags & WatchFrame.goesOn != 0
            var revisions: [RevisionChanges] = []
            while !reader.isAtEnd {
                let revision = try reader.readLogIndex()
                guard revision <= through, revisions.last.map({ $0.revision < revision }) ?? true else {
                    throw .invalid("order of revisions in a watch")
                }
                let origin = flags & WatchFrame.withOrigins != 0 ? try ChangeOrigin(decoding: &reader) : nil
                let count = try reader.readCount32(itemSizeMin: 3)
                var changes: [Change] = []
                changes.reserveCapacity(count)
                for _ in 0..<count { changes.append(try Change(decoding: &reader)) }
                revisions.append(RevisionChanges(revision: revision, origin: origin, changes: changes))
            }
            self = .changes(revisions, through: through, goesOn: goesOn)
        case 3: self = .progress(through: through)
        default: throw .unknown("event of a watch", UInt64(form))
        }
    }
}

/// A frame of changes that is being written; and the frames that are written at once.
package struct WatchFrame: Sendable {
    static let goesOn: UInt8 = 1
    static let withOrigins: UInt8 = 2

    /// The frame so far, to be sent after `finish`.
    package private(set) var writer = ByteWriter()
    private let start: FrameStart
    private let hasOrigins: Bool
    /// Where the open revision begins, where it has its count, and the count so far.
    private var open: (start: Int, offset: Int, count: UInt32)?
    /// Where revisions begin.
    private let bodyStart: Int

    package init(requestID: UInt64, hasOrigins: Bool = false) {
        self.hasOrigins = hasOrigins
        start = Self.begin(requestID, 2, .zero, into: &writer)
        writer.write(hasOrigins ? Self.withOrigins : 0)
        bodyStart = writer.count
    }

    package var byteCount: Int { writer.count + FrameFormat.checksumSize }

    /// The revision that is open has changes in this frame.
    package var hasOpenChanges: Bool { (open?.count ?? 0) > 0 }

    package mutating func begin(_ revision: LogIndex, _ origin: ChangeOrigin) {
        endRevision()
        let start = writer.count
        writer.write(revision.rawValue)
        if hasOrigins { origin.encode(into: &writer) }
        open = (start, writer.count, 0)
        writer.write(UInt32(0))
    }

    /// Takes an open revision back that has no changes yet.
    /// - Returns: whether there are others in this frame.
    package mutating func takeBack() -> Bool {
        guard let open, open.count == 0 else { return false }
        writer.removeAll(after: open.start)
        self.open = nil
        return writer.count > bodyStart
    }

    package mutating func append(_ change: borrowing ChangeView, _ detail: ChangeDetail) {
        change.encode(detail, into: &writer)
        open?.count += 1
    }

    package mutating func endRevision() {
        guard let open else { return }
        writer.overwrite(at: open.offset, with: open.count)
        self.open = nil
    }

    /// - Parameter goesOn: the revision `through` has more changes than these.
    package mutating func finish(through: LogIndex, goesOn: Bool) {
        endRevision()
        writer.overwrite(at: FrameFormat.headerSize + 2, with: UInt32(truncatingIfNeeded: through.rawValue))
        writer.overwrite(at: FrameFormat.headerSize + 6, with: UInt32(truncatingIfNeeded: through.rawValue >> 32))
        if goesOn {
            let flags = Self.goesOn | (hasOrigins ? Self.withOrigins : 0)
            writer.overwrite(at: FrameFormat.headerSize + Self.flagsOffset, with: flags)
        }
        writer.endFrame(start)
    }

    /// Of the flags in the body of a frame of changes.
    private static let flagsOffset = Reply.headSize + 1

    package static func writeCreated(
        requestID: UInt64, revision: LogIndex, floor: LogIndex, into writer: inout ByteWriter
    ) {
        let start = begin(requestID, 1, revision, into: &writer)
        writer.write(floor.rawValue)
        writer.endFrame(start)
    }

    /// - Parameter isLast: the watch has ended, because it was told to.
    package static func writeProgress(
        requestID: UInt64, through: LogIndex, isLast: Bool, into writer: inout ByteWriter
    ) {
        let start = begin(requestID, 3, through, isLast: isLast, into: &writer)
        writer.endFrame(start)
    }

    package static let progressSize = FrameFormat.overhead + Reply.headSize + 1

    private static func begin(
        _ requestID: UInt64, _ event: UInt8, _ revision: LogIndex, isLast: Bool = false, into writer: inout ByteWriter
    ) -> FrameStart {
        let flags: FrameFlags = isLast ? .reply : [.reply, .moreToCome]
        let start = writer.beginFrame(
            FrameHeader(kind: ClientFrameKind.watch.rawValue, flags: flags, requestID: requestID))
        Reply.writeSuccess(revision: revision, into: &writer)
        writer.write(event)
        return start
    }
}
