/// An ordered map from keys to values in which the state machine keeps its rows.
///
/// The contract that every engine passes (one conformance suite runs over all of them):
/// - Keys order as unsigned bytes, a prefix before what it begins. Keys and values may be empty.
/// - `write` is atomic: after a crash either all of a batch is there or nothing of it, and never a later batch without
///   every earlier one. So the row that says how far the log was applied is never apart from the rows it speaks of.
/// - A write is *visible* at once and *durable* only after a flush. The replicated log is the write-ahead log: after a
///   crash the engine may come back to any earlier batch at or after the last flush, and the log is replayed from
///   there.
/// - Damaged bytes are an error, never a wrong value and never a missing row.
///
/// One thread owns an engine and calls it; views may be read from others.
package protocol Engine: EngineReader {
    associatedtype View: EngineView

    /// Reads only what a flush has made durable: what a crash at this moment would leave.
    func getDurable(_ key: RawSpan) throws(EngineError) -> [UInt8]?

    /// Carries out every operation of `batch` in order, all or nothing.
    func write(_ batch: borrowing WriteBatch) throws(EngineError)

    /// Whether a batch of little more than so many bytes would be written without waiting for anything.
    func takesAtOnce(byteCount: Int) -> Bool

    /// The rows as they are now; later writes do not change what the view shows. It holds memory or disk space while it
    /// lives.
    func makeView() throws(EngineError) -> View

    /// Returns when everything written so far is durable.
    func flush() throws(EngineError)

    var statistics: EngineStatistics { get }
}

/// What can be read by key and in key order.
package protocol EngineReader: AnyObject {
    func get(_ key: RawSpan) throws(EngineError) -> [UInt8]?

    /// Calls `body` for each row from `from` (inclusive) to `to` (exclusive; nil: no end) in key order, or in the
    /// opposite order when `reversed`, until it answers `.stop`. Key and value are valid during the call only; `body`
    /// must not write to what it reads.
    func scan(
        from: [UInt8], to: [UInt8]?, reversed: Bool,
        _ body: (_ key: RawSpan, _ value: RawSpan) throws(EngineError) -> ScanStep
    ) throws(EngineError)
}

/// The rows of one moment. May be read from any thread, also while the engine is written.
package protocol EngineView: EngineReader, Sendable {}

package enum ScanStep: Sendable {
    case next
    case stop
}

/// Figures for telemetry and limits; approximate.
package struct EngineStatistics: Hashable, Sendable {
    /// Rows, counting some twice while they are being rewritten.
    package var rowsEstimated: UInt64
    /// Memory that grows with use: write buffers, caches, indexes.
    package var residentBytes: UInt64
    /// Of these, rows that no flush has made durable yet.
    package var unflushedBytes: UInt64
    /// Files of the engine; 0 for one that keeps none.
    package var diskBytes: UInt64

    package init(rowsEstimated: UInt64, residentBytes: UInt64, unflushedBytes: UInt64, diskBytes: UInt64) {
        self.rowsEstimated = rowsEstimated
        self.residentBytes = residentBytes
        self.unflushedBytes = unflushedBytes
        self.diskBytes = diskBytes
    }
}

/// The engine cannot answer. The rows it holds are not to be trusted further (`corrupt`), or the machine under it
/// failed: in both cases the replica stops using this state. Never retried.
package enum EngineError: Error, Equatable, Sendable {
    /// Bytes do not match their checksum, or do not read as what they must be; says where.
    case corrupt(String)
    /// No room on the device, or over quota.
    case noSpace(String)
    /// Any other failure of the storage below.
    case io(String)
}

extension EngineError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .corrupt(let text): "damaged state: \(text)"
        case .noSpace(let text): "no space for state: \(text)"
        case .io(let text): "state storage failed: \(text)"
        }
    }
}
