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
        if text.hasPrefix("Corruption") {
            self = .corrupt(text)
        } else if Self.noSpaceTexts.contains(where: text.contains) {
            self = .noSpace(text)
        } else {
            self = .io(text)
        }
    }

    /// As an error that RocksDB met while it opened what is in `directory`. Where its files name one that is not there,
    /// or ask for what this release cannot do, they are not what was written; and the place is said in any case.
    func metAtOpening(in directory: String) -> EngineError {
        let signs = ["IO error: No such file or directory", "Not implemented", "Invalid argument"]
        switch self {
        case .corrupt(let text): return .corrupt(text.contains(directory) ? text : "\(text) in \(directory)")
        case .io(let text) where signs.contains(where: text.hasPrefix):
            return .corrupt(text.contains(directory) ? text : "\(text) in \(directory)")
        case .io, .noSpace: return self
        }
    }

    /// What `strerror` says of ENOSPC, EDQUOT and EFBIG, and what RocksDB says by itself.
    private static let noSpaceTexts = [
        "No space left on device", "Disk quota exceeded", "File too large", "NoSpace", "Space limit reached",
    ]
}
