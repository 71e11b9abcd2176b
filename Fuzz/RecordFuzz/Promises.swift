internal import Basics
internal import Disk
internal import FuzzSupport
internal import LogStore

private let directory = "log"
private let path = "\(directory)/\(PromiseFile.name)"

/// What stands beside a log that holds less than was promised. What cannot be read counts as one that knows nothing;
/// what is known has one meaning: stored and loaded again it is the same.
let promise = Decoder(
    "promise",
    seeds: {
        [true, false].compactMap { isKnown in
            let disk = MemoryDisk()
            let promise = PromiseFile(last: EntryID(term: Term(3), index: LogIndex(5)), isKnown: isKnown)
            try? promise.store(in: directory, on: disk, salt: salt, nodeID: SegmentInput.node)
            return try? disk.files[path].map { try $0.read(at: 0, count: try $0.size()) }
        }
    }, repair: { repaired($0) }
) { bytes in
    let disk = MemoryDisk()
    disk.put(path, bytes)
    guard let promise = load(from: disk), promise != PromiseFile(last: .zero, isKnown: false) else { return false }
    do {
        try promise.store(in: directory, on: disk, salt: salt, nodeID: SegmentInput.node)
    } catch {
        fail("\(promise) is not stored: \(error)")
    }
    let again = load(from: disk)
    check(again == promise, "\(promise) became \(String(describing: again))")
    return true
}

private func load(from disk: MemoryDisk) -> PromiseFile? {
    do {
        return try PromiseFile.load(from: directory, on: disk, salt: salt, nodeID: SegmentInput.node)
    } catch {
        return nil
    }
}

/// Of this node and cluster, under a right checksum.
private func repaired(_ input: [UInt8]) -> [UInt8] {
    guard input.count >= 32 else { return input }
    var bytes = input
    bytes.store(salt, at: 16)
    bytes.store(SegmentInput.node.rawValue, at: 24)
    bytes.store(CRC32C.checksum(of: bytes.rawSpan.extracting(16..<bytes.count)), at: 12)
    return bytes
}
