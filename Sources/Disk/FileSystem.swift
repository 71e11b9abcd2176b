/// What the product asks of a disk, and all of it: small enough that a simulated disk can keep every promise made here,
/// and break those that a real one breaks in a crash.
///
/// All calls block; they are made on threads of their own, never on the node loop.
///
/// What survives a power loss:
/// - a file's bytes: those written before the last `sync()` of it that returned. Later writes may be there in any
///   subset of 512-byte sectors; a sector is old or new, never a mixture.
/// - a name: as it was at the last `syncDirectory` of its directory that returned. A later create, rename or remove may
///   or may not have happened, each by itself.
package protocol FileSystem: AnyObject, Sendable {
    func open(_ path: String, _ mode: FileMode) throws(DiskError) -> any File
    /// Names of the entries of a directory, sorted; without "." and "..".
    func list(_ directory: String) throws(DiskError) -> [String]
    func exists(_ path: String) throws(DiskError) -> Bool
    /// Makes a directory that only its owner may enter (0700). Its parent must exist.
    func createDirectory(_ path: String) throws(DiskError)
    /// Replaces `target` when it exists; at any time either the old or the new one is there.
    func rename(_ source: String, to target: String) throws(DiskError)
    /// Removes a file or an empty directory.
    func remove(_ path: String) throws(DiskError)
    /// Makes the names in `directory` durable.
    func syncDirectory(_ directory: String) throws(DiskError)
    /// Bytes that an ordinary user may still allocate on the volume that holds `directory`.
    func freeSpace(_ directory: String) throws(DiskError) -> Int
}

package enum FileMode: Hashable, Sendable {
    /// A new file for reading and writing, that only its owner may open (0600). Fails when the name is taken.
    case create
    /// An existing file of ours; refused when others may read or write it.
    case existing
    /// An existing file for reading only, whoever else may read it: something that an operator has handed to us.
    case readOnly
}

/// An open file. Closed when its last reference goes, so a reader may hold on to one that its owner has let go.
/// Reads may come from any thread; writes and syncs from one at a time.
package protocol File: AnyObject, Sendable {
    var path: String { get }
    func size() throws(DiskError) -> Int
    /// `count` bytes from `offset`; fewer only where the file ends.
    func read(at offset: Int, count: Int) throws(DiskError) -> [UInt8]
    /// Writes the pieces one after the other from `offset`, all of them or it throws. Durable only after `sync()`.
    func write(_ pieces: [[UInt8]], at offset: Int) throws(DiskError)
    /// Reserves blocks for the first `size` bytes, so that writing there cannot run out of space and `sync()` has no
    /// new size to make durable. The only call that throws `.noSpace` besides creation.
    func preallocate(_ size: Int) throws(DiskError)
    /// `fdatasync`: the bytes, and of the metadata what is needed to read them back.
    func sync() throws(DiskError)
    /// Begins to bring the bytes in `range` to the disk, so that a later `sync()` has less to do, and nobody else who
    /// uses the disk waits for all of it at once. Promises nothing; what fails is told by `sync()`. The bytes may leave
    /// the page cache: not for what is soon read again.
    func beginSync(_ range: Range<Int>)
    func truncate(to size: Int) throws(DiskError)
}

extension File {
    /// For a disk on which nobody would wait.
    package func beginSync(_ range: Range<Int>) {}
}

extension FileSystem {
    /// Makes `path` in `parent` when it is not there, durably.
    package func makeDirectory(_ path: String, in parent: String) throws(DiskError) {
        if try !exists(path) { try createDirectory(path) }
        // Also where it is there: whoever made it may have been killed before this.
        try syncDirectory(parent)
    }

    /// Writes a small file whole or not at all: a crash leaves the old content or the new, never a part.
    package func replaceFile(_ name: String, in directory: String, with bytes: [UInt8]) throws(DiskError) {
        let temporary = "\(directory)/\(name).tmp"
        if try exists(temporary) { try remove(temporary) }
        let file = try open(temporary, .create)
        try file.preallocate(bytes.count)
        try file.write([bytes], at: 0)
        try file.sync()
        try rename(temporary, to: "\(directory)/\(name)")
        try syncDirectory(directory)
    }
}
