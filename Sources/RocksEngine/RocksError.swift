internal import CRocksDB
internal import StateEngine

/// Collects the error text that a `rocksdb_*` call leaves behind, and frees it.
struct ErrorText: ~Copyable {
    private var text: UnsafeMutablePointer<CChar>?

    deinit { if let text { rocksdb_free(text) } }

    /// Calls `body` with the place for an error text; throws when one was left there.
    static func check<Result>(
        _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
    ) throws(EngineError) -> Result {
        var error = ErrorText()
        let result = body(&error.text)
        if let text = error.text { throw EngineError(rocksText: String(cString: text)) }
        return result
    }
}

extension EngineError {
    /// RocksDB's C interface tells its errors apart by how their text begins ("Corruption: …", "IO error: …").
    init(rocksText text: String) {
        // What the disk does not give back is damaged like what it gives back wrong: the others have it.
        if text.hasPrefix("Corruption") || Self.isFailedRead(text) {
            self = .corrupt(text)
        } else if Self.noSpaceTexts.contains(where: text.contains) {
            self = .noSpace(text)
        } else {
            self = .io(text)
        }
    }

    /// "IO error: While pread offset 4096 len 4096: /data/state-1/000012.sst: Input/output error". A write that failed
    /// names what it did, too, and is no damage.
    private static func isFailedRead(_ text: String) -> Bool {
        guard text.contains("Input/output error") else { return false }
        return readingTexts.contains(where: text.contains)
    }

    /// As an error that RocksDB met while it opened what is in `directory`; the place is said in any case.
    ///
    /// A CURRENT that names a MANIFEST that is not there is damage. What this release of RocksDB does not know ("Not
    /// implemented", "Invalid argument") is not: it may be sound to another one, and damage is replaced.
    func metAtOpening(in directory: String) -> EngineError {
        switch self {
        case .corrupt(let text): return .corrupt(text.contains(directory) ? text : "\(text) in \(directory)")
        case .io(let text) where text.hasPrefix("IO error: No such file or directory") && text.contains("/MANIFEST-"):
            return .corrupt(text.contains(directory) ? text : "\(text) in \(directory)")
        case .io(let text):
            return .io(text.contains(directory) ? text : "\(text) in \(directory)")
        case .noSpace: return self
        }
    }

    private static let readingTexts = ["While pread", "While reading", "while reading", "While mmap"]

    /// What `strerror` says of ENOSPC, EDQUOT and EFBIG, and what RocksDB says by itself.
    private static let noSpaceTexts = [
        "No space left on device", "Disk quota exceeded", "File too large", "NoSpace", "Space limit reached",
    ]
}
