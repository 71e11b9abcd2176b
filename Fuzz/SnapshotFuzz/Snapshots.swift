internal import Basics
internal import FuzzSupport
internal import MetadataMachine
internal import MetadataModel
internal import Snapshots
internal import StateEngine

/// A whole file, as `inspect`, `verify`, `diff` and `restore` read one. One that is sound has one meaning: its parts, put
/// together again, are that file.
let file = Decoder("file", seeds: { SnapshotSeeds.files }, repair: { SnapshotInput.repaired($0) }) { bytes in
    guard let file = try? SnapshotInput(bytes) else { return false }
    readMembers(file.manifest)
    guard file.manifest.chunks.count == file.chunks.count else { return false }
    var reader = SnapshotReader(file.manifest, ranges: Keyspace.carried)
    var receiver = SnapshotReceiver(ranges: Keyspace.carried)
    var again = receiver.header
    var rowCount: UInt64 = 0
    do {
        for chunk in file.chunks {
            let stored = Array(bytes[chunk])
            try reader.read(stored.rawSpan) { key, _ in
                check(Keyspace.carried.contains { $0.contains(key) }, "a row outside the carried tables")
                rowCount += 1
            }
            try receiver.accept(stored)
            again += stored
        }
        try reader.finish()
        again += try receiver.finish(file.manifest)
    } catch {
        return false
    }
    check(rowCount == file.manifest.rowCount, "\(rowCount) rows, the manifest says \(file.manifest.rowCount)")
    check(again == bytes, "a sound file is not the one that its parts make")
    install(file, bytes)
    return true
}

/// What verifies can be installed.
private func install(_ file: SnapshotInput, _ bytes: [UInt8]) {
    let engine = MemoryEngine()
    do {
        let installer = try SnapshotInstaller(file.manifest, ranges: Keyspace.carried, into: engine)
        for chunk in file.chunks { try installer.install(Array(bytes[chunk]).rawSpan) }
        try installer.finish()
    } catch {
        fail("a file that was verified cannot be installed: \(error)")
    }
    let digest = try? ContentDigest(ofRowsIn: Keyspace.carried, of: engine)
    check(digest == file.manifest.contentDigest, "other rows were installed than were verified")
}

let manifest = Decoder(
    "manifest", seeds: { SnapshotSeeds.manifests }, repair: { SnapshotInput.repairedManifest($0) }
) { bytes in
    guard let manifest = try? SnapshotManifest(decoding: bytes.rawSpan) else { return false }
    check(manifest.encoded() == bytes, "a sound manifest is not the one that its fields make")
    readMembers(manifest)
    let assembler = SnapshotAssembler(manifest)
    check(assembler.missingCount == manifest.chunks.count, "chunks that never came")
    return true
}

private func readMembers(_ manifest: SnapshotManifest) {
    _ = try? SnapshotMembership(decoding: manifest.head.membership.rawSpan)
}

/// The members as a manifest has them.
let members = Decoder("members", seeds: { [SnapshotSeeds.members.encoded()] }) { bytes in
    guard let members = try? SnapshotMembership(decoding: bytes.rawSpan) else { return false }
    check((try? SnapshotMembership(decoding: members.encoded().rawSpan)) == members, "\(members)")
    return true
}

/// A chunk as it was kept.
let stored = Decoder(
    "stored chunk", seeds: { SnapshotSeeds.chunks }, repair: { SnapshotInput.repairedChunk($0) }
) { bytes in
    (try? StoredChunk.check(bytes.rawSpan)) != nil
}

/// Chunks that come before their manifest, one after the other.
let chunks = Decoder("chunks", seeds: { SnapshotSeeds.chunks }, repair: { SnapshotInput.repairedChunk($0) }) { bytes in
    var receiver = SnapshotReceiver(ranges: Keyspace.carried)
    do {
        try receiver.accept(bytes)
    } catch {
        return false
    }
    // The same rows once more are not in order.
    check((try? receiver.accept(bytes)) == nil, "a chunk was accepted after itself")
    return true
}

/// Below the envelope: a zstd frame, behind the size that it claims to unpack to.
let packed = Decoder("packed rows", seeds: { SnapshotSeeds.packed }) { bytes in
    guard bytes.count > 4 else { return false }
    var chunk = [UInt8](repeating: 0, count: 20) + bytes[4...]
    chunk[5] = 1
    chunk.replaceSubrange(8..<12, with: bytes[..<4])
    var receiver = SnapshotReceiver(ranges: Keyspace.carried)
    do {
        try receiver.accept(SnapshotInput.repairedChunk(chunk))
        return true
    } catch {
        return false
    }
}
