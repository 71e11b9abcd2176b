package import Basics

/// Asks one node to read every byte that it keeps, or how far it has come with that.
package struct ScrubRequest: Hashable, Sendable {
    package enum Action: UInt8, Hashable, Sendable {
        /// Begins, unless one that a client asked for is under way; one that the node began by itself gives way.
        case start = 0
        case look = 1
        case stop = 2
    }
    package var action: Action
    /// Bytes a second; 0: as the node is set.
    package var rate: UInt64
    /// The rows are to be those of this revision, so that their digest can be compared with another node's; one that is
    /// past it takes the revision that it has. 0: any.
    package var digestAt: LogIndex

    package init(_ action: Action, rate: UInt64 = 0, digestAt: LogIndex = .zero) {
        self.action = action
        self.rate = rate
        self.digestAt = digestAt
    }

    package func encode(requestID: UInt64, into writer: inout ByteWriter) {
        let start = writer.beginFrame(FrameHeader(kind: ClientFrameKind.scrub.rawValue, requestID: requestID))
        writer.write(action.rawValue)
        writer.write(rate)
        writer.write(digestAt.rawValue)
        writer.endFrame(start)
    }

    init(decoding reader: inout ByteReader) throws(DecodeError) {
        let number = try reader.readUInt8()
        guard let action = Action(rawValue: number) else { throw .unknown("scrub action", UInt64(number)) }
        self.action = action
        rate = try reader.readUInt64()
        digestAt = LogIndex(try reader.readUInt64())
    }
}

/// What a node's newest scrub has read and found.
package struct ScrubReport: Hashable, Sendable {
    package enum State: UInt8, Hashable, Sendable {
        /// None since the node was started.
        case never = 0
        case running = 1
        case ended = 2
        /// By a client, or by the end of what it read; it did not come to its end.
        case stopped = 3
    }

    /// False: the request to start was not followed, because one that a client asked for is under way.
    package var isAccepted = true
    package var state = State.never
    /// A client asked for it; false: the node began by itself.
    package var isByClient = false
    /// By the node's wall clock; 0: not yet.
    package var startedAt = ClusterTime.zero
    package var endedAt = ClusterTime.zero
    package var byteCount: UInt64 = 0
    /// About how many it will be in the end.
    package var byteCountExpected: UInt64 = 0
    /// Of the log.
    package var recordCount: UInt64 = 0
    package var rowCount: UInt64 = 0
    /// The revision of the rows, and the SHA-256 over those that all members have alike; zero and empty when they could
    /// not all be read, or have not been yet.
    package var digestAt = LogIndex.zero
    package var contentDigest: [UInt8] = []
    /// All that were found; `damages` lists the first ones.
    package var damageCount: UInt32 = 0
    package var damages: [ScrubDamage] = []

    package static let damagesMax = 64
    private static let digestSize = 32

    package init() {}

    func encodeFields(into writer: inout ByteWriter) {
        writer.write(isAccepted)
        writer.write(state.rawValue)
        writer.write(isByClient)
        writer.write(startedAt.nanoseconds)
        writer.write(endedAt.nanoseconds)
        writer.write(byteCount)
        writer.write(byteCountExpected)
        writer.write(recordCount)
        writer.write(rowCount)
        writer.write(digestAt.rawValue)
        writer.write(contentDigest.count == Self.digestSize)
        if contentDigest.count == Self.digestSize { writer.write(contentDigest) }
        writer.write(damageCount)
        let listed = damages.prefix(Self.damagesMax)
        writer.write(UInt16(listed.count))
        for damage in listed { damage.encode(into: &writer) }
    }

    init(decoding reader: inout ByteReader) throws(DecodeError) {
        isAccepted = try reader.readBool()
        let number = try reader.readUInt8()
        guard let state = State(rawValue: number) else { throw .unknown("scrub state", UInt64(number)) }
        self.state = state
        isByClient = try reader.readBool()
        startedAt = ClusterTime(nanoseconds: try reader.readUInt64())
        endedAt = ClusterTime(nanoseconds: try reader.readUInt64())
        byteCount = try reader.readUInt64()
        byteCountExpected = try reader.readUInt64()
        recordCount = try reader.readUInt64()
        rowCount = try reader.readUInt64()
        digestAt = LogIndex(try reader.readUInt64())
        if try reader.readBool() { contentDigest = [UInt8](try reader.readBytes(Self.digestSize)) }
        damageCount = try reader.readUInt32()
        let count = Int(try reader.readUInt16())
        guard count <= Self.damagesMax else { throw .tooLarge(UInt64(count)) }
        for _ in 0..<count { damages.append(try ScrubDamage(decoding: &reader)) }
    }
}

/// Bytes that are not what was written, and what became of them.
package struct ScrubDamage: Hashable, Sendable {
    package enum Outcome: UInt8, Hashable, Sendable {
        case repairing = 0
        case repaired = 1
        /// Nobody has what was there, and it is needed.
        case standing = 2
        /// Nothing was lost by it: what it said is said elsewhere too, and it goes with its file.
        case harmless = 3
        /// Nobody has it, and this node does not need it: its log begins behind it now.
        case letGo = 4
    }
    package static let textSizeMax = 1_024

    package var file: String
    package var offset: UInt64?
    /// Entries of the log that it took; both zero when it took none.
    package var firstIndex = LogIndex.zero
    package var lastIndex = LogIndex.zero
    package var reason: String
    package var outcome: Outcome

    package init(file: String, offset: UInt64?, reason: String, outcome: Outcome) {
        self.file = file
        self.offset = offset
        self.reason = reason
        self.outcome = outcome
    }

    func encode(into writer: inout ByteWriter) {
        writer.writeText(file, max: Self.textSizeMax)
        writer.write(offset != nil)
        writer.write(offset ?? 0)
        writer.write(firstIndex.rawValue)
        writer.write(lastIndex.rawValue)
        writer.writeText(reason, max: Self.textSizeMax)
        writer.write(outcome.rawValue)
    }

    init(decoding reader: inout ByteReader) throws(DecodeError) {
        file = try reader.readString16(max: Self.textSizeMax)
        let isKnown = try reader.readBool()
        let place = try reader.readUInt64()
        offset = isKnown ? place : nil
        firstIndex = LogIndex(try reader.readUInt64())
        lastIndex = LogIndex(try reader.readUInt64())
        reason = try reader.readString16(max: Self.textSizeMax)
        let number = try reader.readUInt8()
        guard let outcome = Outcome(rawValue: number) else { throw .unknown("outcome of damage", UInt64(number)) }
        self.outcome = outcome
    }
}

package struct ScrubReply: Hashable, Sendable {
    package var revision: LogIndex
    package var report: ScrubReport

    package init(revision: LogIndex, report: ScrubReport) {
        self.revision = revision
        self.report = report
    }
}
