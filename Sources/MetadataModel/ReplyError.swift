package import Basics

/// An error as a reply carries it: a stable code, text for a person, and fields that a program can act on.
///
///     u16 code | u64 revision | u16 size, message | u8 count of fields | fields
///     field: u8 tag | u16 size | value              integers little-endian, text UTF-8
///
///     tag 1 currentRevision u64   2 expectedSequence u64   3 limit u64   4 retryAfter u32, ms
///         5 leaderName text       6 leaderAddress text     7 succeeded u8      8 currentFence u64
///         9 rule text
///
/// A reader skips tags that it does not know.
package struct ReplyError: Error, Hashable, Sendable {
    package var code: ErrorCode
    package var message: String
    package var currentRevision: LogIndex?
    package var expectedSequence: UInt64?
    package var limit: UInt64?
    package var retryAfter: Interval?
    package var leaderName: String?
    package var leaderAddress: String?
    package var succeeded: Bool?
    package var currentFence: UInt64?
    /// The id of the registry's rule.
    package var rule: String?

    package init(
        _ code: ErrorCode, _ message: String? = nil, currentRevision: LogIndex? = nil, expectedSequence: UInt64? = nil,
        limit: UInt64? = nil, retryAfter: Interval? = nil, leaderName: String? = nil, leaderAddress: String? = nil,
        succeeded: Bool? = nil, currentFence: UInt64? = nil, rule: String? = nil
    ) {
        self.code = code
        self.message = message ?? code.defaultMessage
        self.currentRevision = currentRevision
        self.expectedSequence = expectedSequence
        self.limit = limit
        self.retryAfter = retryAfter
        self.leaderName = leaderName
        self.leaderAddress = leaderAddress
        self.succeeded = succeeded
        self.currentFence = currentFence
        self.rule = rule
    }

    package var isRetryable: Bool { code.isRetryable }

    private enum Tag: UInt8 {
        case currentRevision = 1
        case expectedSequence = 2
        case limit = 3
        case retryAfter = 4
        case leaderName = 5
        case leaderAddress = 6
        case succeeded = 7
        case currentFence = 8
        case rule = 9
    }

    /// Appends the whole reply body. Text is cut at `textSizeMax`.
    package func encode(revision: LogIndex, into writer: inout ByteWriter) {
        writer.write(code.rawValue)
        writer.write(revision.rawValue)
        writer.writeString16(Self.cut(message))
        let fields: [(Tag, [UInt8]?)] = [
            (.currentRevision, currentRevision.map { Self.bytes($0.rawValue) }),
            (.expectedSequence, expectedSequence.map(Self.bytes)),
            (.limit, limit.map(Self.bytes)),
            (.retryAfter, retryAfter.map { Self.bytes(UInt32(clamping: $0.nanoseconds / 1_000_000)) }),
            (.leaderName, leaderName.map { Array(Self.cut($0).utf8) }),
            (.leaderAddress, leaderAddress.map { Array(Self.cut($0).utf8) }),
            (.succeeded, succeeded.map { [$0 ? 1 : 0] }),
            (.currentFence, currentFence.map(Self.bytes)),
            (.rule, rule.map { Array(Self.cut($0).utf8) }),
        ]
        writer.write(UInt8(fields.count { $0.1 != nil }))
        for case (let tag, let value?) in fields {
            writer.write(tag.rawValue)
            writer.writeBytes16(value)
        }
    }

    /// Reads what follows code and revision.
    init(code: ErrorCode, decoding reader: inout ByteReader) throws(DecodeError) {
        self.init(code, try reader.readString16(max: Self.textSizeMax))
        for _ in 0..<(try reader.readUInt8()) {
            let tag = Tag(rawValue: try reader.readUInt8())
            var field = ByteReader(try reader.readBytes16())
            switch tag {
            case .currentRevision: currentRevision = LogIndex(try field.readUInt64())
            case .expectedSequence: expectedSequence = try field.readUInt64()
            case .limit: limit = try field.readUInt64()
            case .retryAfter: retryAfter = .milliseconds(Int64(try field.readUInt32()))
            case .leaderName: leaderName = try field.readText()
            case .leaderAddress: leaderAddress = try field.readText()
            case .succeeded: succeeded = try field.readBool()
            case .currentFence: currentFence = try field.readUInt64()
            case .rule: rule = try field.readText()
            case nil: break
            }
        }
    }

    package static let textSizeMax = 1_024

    private static func cut(_ text: String) -> String {
        var text = text
        while text.utf8.count > textSizeMax { text.removeLast() }
        return text
    }

    private static func bytes<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
        (0..<T.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
    }
}

extension ByteReader {
    /// The rest, as text, of the size that is written.
    @_lifetime(self: copy self)
    fileprivate mutating func readText() throws(DecodeError) -> String {
        guard remaining <= ReplyError.textSizeMax else { throw .tooLarge(UInt64(remaining)) }
        guard let text = String(validating: [UInt8](readRemaining()), as: UTF8.self) else {
            throw .invalid("UTF-8 text")
        }
        return text
    }
}
