internal import Basics
internal import MetadataMachine
internal import MetadataModel
internal import Snapshots
internal import StateEngine

/// Whatever a snapshot file or a sender brings must end in rows that a snapshot may hold or in a `SnapshotError`, never
/// in a trap.
///
/// The input is used three times: as a whole file, as `inspect`, `verify`, `diff` and `restore` read one; as a manifest
/// and what belongs to it; and as a chunk that comes before its manifest.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOne(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = [UInt8](UnsafeBufferPointer(start: start, count: count))
    if let file = try? SnapshotInput(bytes) { readFile(file, bytes) }
    if let manifest = try? SnapshotManifest(decoding: bytes.rawSpan) { readManifest(manifest, bytes) }
    var receiver = SnapshotReceiver(ranges: Keyspace.carried)
    try? receiver.accept(bytes)
    return 0
}

/// A file that is sound has one meaning: its parts, put together again, are that file.
private func readFile(_ file: SnapshotInput, _ bytes: [UInt8]) {
    readMembers(file.manifest)
    guard file.manifest.chunks.count == file.chunks.count else { return }
    var reader = SnapshotReader(file.manifest, ranges: Keyspace.carried)
    var receiver = SnapshotReceiver(ranges: Keyspace.carried)
    var again = receiver.header
    var rowCount: UInt64 = 0
    do {
        for chunk in file.chunks {
            let stored = Array(bytes[chunk])
            try reader.read(stored.rawSpan) { key, _ in
                precondition(Keyspace.carried.contains { $0.contains(key) }, "a row outside the carried tables")
                rowCount += 1
            }
            try receiver.accept(stored)
            again += stored
        }
        try reader.finish()
        again += try receiver.finish(file.manifest)
    } catch {
        return
    }
    precondition(rowCount == file.manifest.rowCount, "\(rowCount) rows, the manifest says \(file.manifest.rowCount)")
    precondition(again == bytes, "a sound file is not the one that its parts make")
    install(file, bytes)
}

/// What verifies can be installed.
private func install(_ file: SnapshotInput, _ bytes: [UInt8]) {
    let engine = MemoryEngine()
    do {
        let installer = try SnapshotInstaller(file.manifest, ranges: Keyspace.carried, into: engine)
        for chunk in file.chunks { try installer.install(Array(bytes[chunk]).rawSpan) }
        try installer.finish()
    } catch {
        preconditionFailure("a file that was verified cannot be installed: \(error)")
    }
    let digest = try? ContentDigest(ofRowsIn: Keyspace.carried, of: engine)
    precondition(digest == file.manifest.contentDigest, "other rows were installed than were verified")
}

private func readManifest(_ manifest: SnapshotManifest, _ bytes: [UInt8]) {
    precondition(manifest.encoded() == bytes, "a sound manifest is not the one that its fields make")
    readMembers(manifest)
    let assembler = SnapshotAssembler(manifest)
    precondition(assembler.missingCount == manifest.chunks.count, "chunks that never came")
}

private func readMembers(_ manifest: SnapshotManifest) {
    _ = try? SnapshotMembership(decoding: manifest.head.membership.rawSpan)
}

// MARK: - Mutation

/// Changes the input, and three times out of four puts sizes, checksums and digests of a file right again: so what is
/// tried gets past them, and they are tried too.
@_cdecl("LLVMFuzzerCustomMutator")
public func mutate(_ data: UnsafeMutablePointer<UInt8>, _ size: Int, _ sizeMax: Int, _ seed: CUnsignedInt) -> Int {
    let size = mutateBytes(data, size, sizeMax)
    guard seed % 4 != 0 else { return size }
    let bytes = UnsafeMutableBufferPointer(start: data, count: size)
    _ = bytes.update(fromContentsOf: SnapshotInput.repaired(Array(bytes)))
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
@_cdecl("SnapshotFuzz_main")
public func run(_ argc: CInt, _ argv: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?) -> CInt {
    var argc = argc
    var argv = argv
    return runDriver(&argc, &argv, fuzzOne)
}
