internal import Basics

/// The rows of one moment as an engine's files hold them, read past every cache, to be verified. Read on one thread; the
/// engine may be written meanwhile.
package protocol StoredRows: AnyObject {
    /// Reads on, about `bytesMax` bytes: each row in key order, also in the ways that a scan does not take (indexes,
    /// filters). What cannot be read is left out, and what hides it is handed to `damaged`, once for each place.
    /// - Returns: false when all is read.
    func read(
        bytesMax: Int, _ body: (_ key: RawSpan, _ value: RawSpan) -> Void, damaged: (RowDamage) -> Void
    ) throws(EngineError) -> Bool
}

/// Bytes of an engine's files that are not what was written there, as far as it is known which.
package struct RowDamage: Hashable, Sendable {
    package var file: String
    package var offset: UInt64?
    package var reason: String

    package init(file: String, offset: UInt64?, reason: String) {
        self.file = file
        self.offset = offset
        self.reason = reason
    }
}

/// The rows of an engine in memory, which has no files to be damaged.
package final class MemoryStoredRows: StoredRows {
    private let view: MemoryView
    private var next: [UInt8]? = []

    package init(_ view: MemoryView) { self.view = view }

    package func read(
        bytesMax: Int, _ body: (_ key: RawSpan, _ value: RawSpan) -> Void, damaged: (RowDamage) -> Void
    ) -> Bool {
        guard let from = next else { return false }
        var size = 0
        var last = from
        next = nil
        do throws(EngineError) {
            try view.scan(from: from, to: nil, reversed: false) { key, value in
                guard size < bytesMax else {
                    next = [UInt8](key)
                    return .stop
                }
                size += key.byteCount + value.byteCount
                last = [UInt8](key)
                body(key, value)
                return .next
            }
        } catch {
            damaged(RowDamage(file: "state in memory", offset: nil, reason: "\(error), after key \(last)"))
        }
        return next != nil
    }
}
