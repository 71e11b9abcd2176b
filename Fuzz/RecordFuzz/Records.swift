internal import Basics
internal import FuzzSupport
internal import LogFormat
internal import MetadataModel

let salt: UInt32 = 0x5EED_0001

/// Records that follow one another, as they are.
let records = Decoder("records", seeds: { [slabSeed] }, repair: { repairedRecord($0) }) { bytes in
    var offset = 0
    while offset < bytes.count,
        let record = try? RecordView(verifying: bytes.rawSpan.extracting(offset..<bytes.count), payloadSizeMax: 1 << 20)
    {
        check(offset + record.header.recordSize <= bytes.count, "a record beyond its bytes")
        check(record.payload.byteCount == record.header.payloadSize, "a payload of another size")
        offset += record.header.recordSize
    }
    return offset > 0
}

/// The bytes as one slab, with the length and checksum of its records put right.
let slab = Decoder("slab", seeds: { [slabSeed] }) { input in
    var bytes = input
    SegmentInput.repairRecords(&bytes, bytes.indices)
    guard let first = try? RecordView(verifying: bytes.rawSpan) else { return false }
    let id = first.header.id
    guard let slab = try? Slab(verifying: bytes, firstIndex: id.index, term: id.term, salt: salt) else { return false }
    var builder = SlabBuilder(term: slab.term, firstIndex: slab.firstIndex, salt: salt)
    for index in slab.firstIndex.rawValue...slab.lastIndex.rawValue {
        let record = slab.record(at: LogIndex(index))
        check(record.header.id.index.rawValue == index, "a record in another's place")
        builder.append(
            record.header.type, payload: record.payload, time: record.header.time, principal: record.header.principal)
    }
    check(builder.close()?.bytes == bytes, "a slab that verifies is not the one that its records make")
    let half = slab.firstIndex...(slab.firstIndex + slab.count / 2)
    if let part = slab.slice(half) {
        check(part.bytes == Array(bytes[slab.byteRange(of: part.indexes)]), "a slice of other records")
    }
    return true
}

/// A configuration that is understood has one meaning: written again and read again it is the same.
let membership = Decoder("membership", seeds: { [Samples.membership.encoded()] }) { bytes in
    roundTrip(bytes) { try Membership(decoding: &$0) } write: { $1.write($0.encoded()) }
}

let founding = Decoder("founding record", seeds: { [Samples.founding.encoded()] }) { bytes in
    roundTrip(bytes) { try FoundingRecord(decoding: $0.readRemaining()) } write: { $1.write($0.encoded()) }
}

/// Records of every type, with commands of every kind.
var slabSeed: [UInt8] {
    var builder = SlabBuilder(term: Term(3), firstIndex: LogIndex(5), salt: salt)
    let time = ClusterTime(nanoseconds: 1_700_000_000_000_000_000)
    let (nothing, membership) = ([UInt8](), Samples.membership.encoded())
    builder.append(.noop, payload: nothing.rawSpan, time: time)
    builder.append(.configuration, payload: membership.rawSpan, time: time)
    for sample in Samples.mutations.prefix(3) {
        let command = Samples.command(sample.mutation)
        builder.append(.command, payload: command.rawSpan, time: time, principal: 9)
    }
    return builder.close()?.bytes ?? []
}

/// The input with length and checksum of its first record put right.
private func repairedRecord(_ input: [UInt8]) -> [UInt8] {
    var bytes = input
    SegmentInput.repairRecords(&bytes, bytes.indices)
    return bytes
}
