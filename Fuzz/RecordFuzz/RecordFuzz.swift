internal import Basics
internal import LogFormat
internal import LogStore
internal import MetadataModel

/// Whatever a log file or a peer brings as records must end in values or in a `DecodeError`, never in a trap.
///
/// The input is used four times: as records, as it is; as one record with right length and checksum, since chance alone
/// does not get past a checksum; as what a record holds; and as a segment file of a log that is opened and read.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOne(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = [UInt8](UnsafeBufferPointer(start: start, count: count))
    readRecords(bytes)
    readSlab(repaired(bytes))
    guard let choice = bytes.first else { return 0 }
    readPayload(choice, Array(bytes.dropFirst()))
    openLog(bytes)
    return 0
}

let salt: UInt32 = 0x5EED_0001

private func readRecords(_ bytes: [UInt8]) {
    var offset = 0
    while offset < bytes.count,
        let record = try? RecordView(verifying: bytes.rawSpan.extracting(offset..<bytes.count), payloadSizeMax: 1 << 20)
    {
        precondition(offset + record.header.recordSize <= bytes.count, "a record beyond its bytes")
        precondition(record.payload.byteCount == record.header.payloadSize, "a payload of another size")
        offset += record.header.recordSize
    }
}

/// The input with length and checksum of its first record put right.
private func repaired(_ bytes: [UInt8]) -> [UInt8] {
    guard bytes.count >= RecordFormat.headerSize else { return bytes }
    var record = bytes
    record.store(UInt32(bytes.count - RecordFormat.lengthSize), at: 0)
    record[9] = RecordFormat.version
    record.store(UInt16(0), at: 10)
    record.store(salt, at: 12)
    record.store(CRC32C.checksum(of: record.rawSpan.extracting(8..<record.count)), at: 4)
    return record
}

private func readSlab(_ bytes: [UInt8]) {
    guard let first = try? RecordView(verifying: bytes.rawSpan) else { return }
    let id = first.header.id
    guard let slab = try? Slab(verifying: bytes, firstIndex: id.index, term: id.term, salt: salt) else { return }
    for index in slab.firstIndex.rawValue...slab.lastIndex.rawValue {
        precondition(slab.record(at: LogIndex(index)).header.id.index.rawValue == index, "a record in another's place")
    }
}

/// What a record holds. A configuration that is understood has one meaning: written again and read again it is the same.
private func readPayload(_ choice: UInt8, _ payload: [UInt8]) {
    if choice % 2 == 0 {
        _ = try? Command.validate(payload.rawSpan)
        var reader = ByteReader(payload.rawSpan)
        _ = try? Transaction(decoding: &reader)
    } else {
        if let membership = try? Membership(decoding: payload.rawSpan) {
            precondition((try? Membership(decoding: membership.encoded().rawSpan)) == membership, "\(membership)")
        }
        _ = try? FoundingRecord(decoding: payload.rawSpan)
    }
}

/// A log that opens can be read to its end, or says where it is damaged; and it opens again. One in which nothing was
/// cut or damaged has the same promises then; of another that was forged, headers may say what no writer would.
private func openLog(_ bytes: [UInt8]) {
    for acceptingDamage in [false, true] {
        guard let disk = SegmentInput.disk(from: bytes) else { return }
        guard let (log, report) = SegmentInput.open(disk, acceptingDamage: acceptingDamage) else { continue }
        if log.firstIndex <= log.lastIndex {
            _ = try? log.read(from: log.firstIndex, through: log.lastIndex, bytesMax: 1 << 20)
        }
        guard let (again, _) = SegmentInput.open(disk, acceptingDamage: acceptingDamage) else {
            preconditionFailure("a log that was opened does not open again")
        }
        guard report.damages.isEmpty, report.tornTail == nil else { continue }
        precondition(again.last == log.last && again.previous == log.previous, "\(log.last) became \(again.last)")
        precondition(again.hardState == log.hardState, "\(log.hardState) became \(again.hardState)")
    }
}

// MARK: - Mutation

/// Changes the input, and three times out of four puts the checksums of a segment file right again: so what is tried
/// gets past them, and they are tried too.
@_cdecl("LLVMFuzzerCustomMutator")
public func mutate(_ data: UnsafeMutablePointer<UInt8>, _ size: Int, _ sizeMax: Int, _ seed: CUnsignedInt) -> Int {
    let size = mutateBytes(data, size, sizeMax)
    guard seed % 4 != 0 else { return size }
    let bytes = UnsafeMutableBufferPointer(start: data, count: size)
    _ = bytes.update(fromContentsOf: SegmentInput.repaired(Array(bytes)))
    return size
}

@_silgen_name("LLVMFuzzerMutate")
func mutateBytes(_: UnsafeMutablePointer<UInt8>, _: Int, _: Int) -> Int

// MARK: - Start

@_silgen_name("LLVMFuzzerRunDriver")
func runDriver(
    _: UnsafeMutablePointer<CInt>, _: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>,
    _: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

/// What SwiftPM links as the program's start.
@_cdecl("RecordFuzz_main")
public func run(_ argc: CInt, _ argv: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?) -> CInt {
    var argc = argc
    var argv = argv
    return runDriver(&argc, &argv, fuzzOne)
}
