package import Basics

/// If all comparisons hold then one list of operations, else the other; at one revision, all or nothing.
///
///     u16 comparisons | u16 then | u16 else        counts; together ≤ `Limits.transactionOperationsMax`
///     comparisons, operations of then, operations of else
///
///     comparison  u8 1 | u16 size, key | u64 revision          the row's revision is this; 0: there is no row
///                 u8 2 | u16 size, key | u32 size, value       the row is there with this value
///                 u8 3 | u16 size, key | u8 truth              the row is there, or is not
///                 u8 4 | u16 size, prefix | u64 revision       no key with this prefix was put or deleted after it
///     operation   u8 1 | u16 size, key | u32 size, value       put
///                 u8 2 | u16 size, key                         delete
///                 u8 3 | u16 size, prefix                      delete every key with this prefix
///                 u8 4 | u16 size, key                         get
///                 u8 5 | u16 size, key | u32 size, value       put a row that goes with the session
///
/// A get answers from the state that the comparisons saw, before the operations change it. Puts and deletes then happen
/// in order: a prefix delete takes what was put before it in the branch, and spares what is put after it. No key may be
/// put or deleted by name twice in one branch: the transaction is one change, so a key has one outcome.
///
/// Apply refuses with `tooLarge`, and changes nothing, when comparisons look at more than `Limits.comparisonRowsMax`
/// rows, prefix deletes together at more than `Limits.rangeDeleteRowsMax`, or several gets answer more than
/// `Limits.transactionReadSizeMax` bytes; with `compacted` when "unchanged since" asks below the delete floor, or about a
/// revision of the generation before a restore.
package struct Transaction: Hashable, Sendable {
    package enum Comparison: Hashable, Sendable {
        case revision(key: [UInt8], equals: LogIndex)
        case value(key: [UInt8], equals: [UInt8])
        case exists(key: [UInt8], Bool)
        case unchanged(prefix: [UInt8], since: LogIndex)
    }

    package enum Operation: Hashable, Sendable {
        case put(key: [UInt8], value: [UInt8])
        case delete(key: [UInt8])
        case deletePrefix([UInt8])
        case get(key: [UInt8])
        case putOwned(key: [UInt8], value: [UInt8])
    }

    package var comparisons: [Comparison]
    package var then: [Operation]
    package var otherwise: [Operation]

    package init(comparisons: [Comparison] = [], then: [Operation], otherwise: [Operation] = []) {
        self.comparisons = comparisons
        self.then = then
        self.otherwise = otherwise
    }

    /// True when either branch may put a row that goes with the session.
    package var hasOwnedPuts: Bool {
        func isOwned(_ operation: Operation) -> Bool { if case .putOwned = operation { true } else { false } }
        return then.contains(where: isOwned) || otherwise.contains(where: isOwned)
    }

    package var count: Int { comparisons.count + then.count + otherwise.count }

    // MARK: Codec

    /// The counts must be in their limits.
    package func encode(into writer: inout ByteWriter) {
        writer.write(UInt16(clamping: comparisons.count))
        writer.write(UInt16(clamping: then.count))
        writer.write(UInt16(clamping: otherwise.count))
        for comparison in comparisons {
            switch comparison {
            case .revision(let key, let revision):
                writer.write(UInt8(1))
                writer.writeBytes16(key)
                writer.write(revision.rawValue)
            case .value(let key, let value):
                writer.write(UInt8(2))
                writer.writeBytes16(key)
                writer.writeBytes32(value)
            case .exists(let key, let exists):
                writer.write(UInt8(3))
                writer.writeBytes16(key)
                writer.write(exists)
            case .unchanged(let prefix, let revision):
                writer.write(UInt8(4))
                writer.writeBytes16(prefix)
                writer.write(revision.rawValue)
            }
        }
        for operation in then + otherwise {
            switch operation {
            case .put(let key, let value):
                writer.write(UInt8(1))
                writer.writeBytes16(key)
                writer.writeBytes32(value)
            case .delete(let key):
                writer.write(UInt8(2))
                writer.writeBytes16(key)
            case .deletePrefix(let prefix):
                writer.write(UInt8(3))
                writer.writeBytes16(prefix)
            case .get(let key):
                writer.write(UInt8(4))
                writer.writeBytes16(key)
            case .putOwned(let key, let value):
                writer.write(UInt8(5))
                writer.writeBytes16(key)
                writer.writeBytes32(value)
            }
        }
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        let comparisonCount = Int(try reader.readUInt16())
        let thenCount = Int(try reader.readUInt16())
        let otherwiseCount = Int(try reader.readUInt16())
        let total = comparisonCount + thenCount + otherwiseCount
        guard total <= Limits.transactionOperationsMax else { throw .tooLarge(UInt64(total)) }
        comparisons = []
        then = []
        otherwise = []
        for _ in 0..<comparisonCount { comparisons.append(try Comparison(decoding: &reader)) }
        for _ in 0..<thenCount { then.append(try Operation(decoding: &reader)) }
        for _ in 0..<otherwiseCount { otherwise.append(try Operation(decoding: &reader)) }
    }

    // MARK: Rules

    func refusal(valueSizeMax: Int) -> ReplyError? {
        var size = 0
        for comparison in comparisons {
            let refusal: ReplyError?
            switch comparison {
            case .revision(let key, _), .exists(let key, _): refusal = Key.refusal(of: key.rawSpan)
            case .value(let key, let value):
                refusal = Key.refusal(of: key.rawSpan)
                size += value.count
            case .unchanged(let prefix, _): refusal = Key.refusal(ofPrefix: prefix.rawSpan)
            }
            if let refusal { return refusal }
        }
        for branch in [then, otherwise] {
            var written: Set<[UInt8]> = []
            for operation in branch {
                let refusal: ReplyError?
                switch operation {
                case .put(let key, let value), .putOwned(let key, let value):
                    refusal = Key.refusal(of: key.rawSpan) ?? Self.insert(key, into: &written)
                    size += value.count
                case .delete(let key): refusal = Key.refusal(of: key.rawSpan) ?? Self.insert(key, into: &written)
                case .deletePrefix(let prefix): refusal = Key.refusal(ofPrefix: prefix.rawSpan)
                case .get(let key): refusal = Key.refusal(of: key.rawSpan)
                }
                if let refusal { return refusal }
            }
        }
        guard size > valueSizeMax else { return nil }
        return ReplyError(.tooLarge, "a transaction with \(size) bytes of values", limit: UInt64(valueSizeMax))
    }

    private static func insert(_ key: [UInt8], into written: inout Set<[UInt8]>) -> ReplyError? {
        guard !written.insert(key).inserted else { return nil }
        return ReplyError(.invalidRequest, "a transaction that puts or deletes one key twice")
    }
}

extension Transaction.Comparison {
    fileprivate init(decoding reader: inout ByteReader) throws(DecodeError) {
        let form = try reader.readUInt8()
        let key = [UInt8](try reader.readBytes16(max: Limits.keySizeMax))
        switch form {
        case 1: self = .revision(key: key, equals: LogIndex(try reader.readUInt64()))
        case 2: self = .value(key: key, equals: [UInt8](try reader.readBytes32(max: Limits.valueSizeMaxCeiling)))
        case 3: self = .exists(key: key, try reader.readBool())
        case 4: self = .unchanged(prefix: key, since: LogIndex(try reader.readUInt64()))
        default: throw .unknown("comparison", UInt64(form))
        }
    }
}

extension Transaction.Operation {
    fileprivate init(decoding reader: inout ByteReader) throws(DecodeError) {
        let form = try reader.readUInt8()
        let key = [UInt8](try reader.readBytes16(max: Limits.keySizeMax))
        switch form {
        case 1: self = .put(key: key, value: [UInt8](try reader.readBytes32(max: Limits.valueSizeMaxCeiling)))
        case 2: self = .delete(key: key)
        case 3: self = .deletePrefix(key)
        case 4: self = .get(key: key)
        case 5: self = .putOwned(key: key, value: [UInt8](try reader.readBytes32(max: Limits.valueSizeMaxCeiling)))
        default: throw .unknown("operation", UInt64(form))
        }
    }
}
