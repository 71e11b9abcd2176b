internal import CRocksDB
package import StateEngine

/// What an operator may want different; the rest is fixed by measurement in `RocksDatabase`.
package struct RocksSettings: Sendable {
    package enum Compression: Sendable {
        case none
        case lz4

        var rocksValue: Int32 {
            switch self {
            case .none: Int32(rocksdb_no_compression)
            case .lz4: Int32(rocksdb_lz4_compression)
            }
        }
    }

    /// Bytes of batches before their rows are stored in a file; also about what is replayed after a crash, four times over
    /// at most.
    package var writeBufferSize: Int
    /// Bounds blocks, indexes and filters kept in memory.
    package var blockCacheSize: Int
    package var openFilesMax: Int
    package var backgroundJobs: Int
    package var compression: Compression

    package init(
        writeBufferSize: Int = 16 * 1_024 * 1_024, blockCacheSize: Int = 64 * 1_024 * 1_024, openFilesMax: Int = 512,
        backgroundJobs: Int = 2, compression: Compression = .lz4
    ) {
        self.writeBufferSize = writeBufferSize
        self.blockCacheSize = blockCacheSize
        self.openFilesMax = openFilesMax
        self.backgroundJobs = backgroundJobs
        self.compression = compression
    }
}

/// The rows in RocksDB's table files, and those of the newest batches in memory until they become a file of their own.
///
/// The replicated log is the write-ahead log, so a write only has to be remembered. RocksDB's memtable would do that, but
/// it takes several times as long for a row as a map that one thread writes, and it keeps each row as often as it was
/// written. When enough has gathered, the rows are written to a table file in the background, each once and in key order,
/// and the database takes that file in one step. So a crash comes back to the end of some earlier batch, and the row in
/// each batch that says how far the log was applied tells from where to replay.
package final class RocksEngine: Engine {
    private let database: RocksDatabase
    private let storer: RowStorer
    private let writeBufferSize: Int

    /// The rows of the newest batches, over those that are being stored, newest first, over those in files.
    private var recent = RecentRows()
    private var underWay: [RowStorer.Job] = [] {
        didSet { stored = Self.overlaid(underWay, over: files) }
    }
    private let files: RocksFiles
    private var stored: any EngineReader

    /// Opens the database in `directory`, or makes one there; the parent must exist. One process at a time: RocksDB
    /// holds a lock on the directory.
    package init(directory: String, settings: RocksSettings = RocksSettings()) throws(EngineError) {
        database = try RocksDatabase(directory: directory, settings: settings)
        storer = RowStorer(database, directory: directory)
        files = RocksFiles(database)
        stored = files
        writeBufferSize = settings.writeBufferSize
    }

    deinit { try? flush() }

    // MARK: Reading

    package func get(_ key: RawSpan) throws(EngineError) -> [UInt8]? { try recent.get(key, over: stored) }

    package func getDurable(_ key: RawSpan) throws(EngineError) -> [UInt8]? { try files.get(key) }

    package func scan(
        from: [UInt8], to: [UInt8]?, reversed: Bool,
        _ body: (_ key: RawSpan, _ value: RawSpan) throws(EngineError) -> ScanStep
    ) throws(EngineError) {
        try recent.scan(from: from, to: to, reversed: reversed, over: stored, body)
    }

    package func makeView() throws(EngineError) -> RocksView {
        // What becomes a file before the snapshot is made is in both, and says the same.
        RocksView(Self.overlaid(recent, over: Self.overlaid(underWay, over: try RocksFiles(pinnedIn: database))))
    }

    private static func overlaid(_ jobs: [RowStorer.Job], over files: RocksFiles) -> any EngineReader {
        var rows: any EngineReader = files
        for job in jobs.reversed() { rows = overlaid(job.rows, over: rows) }
        return rows
    }

    private static func overlaid(_ rows: RecentRows, over below: some EngineReader) -> any EngineReader {
        OverlaidRows(rows, over: below)
    }

    // MARK: Writing

    package func write(_ batch: borrowing WriteBatch) throws(EngineError) {
        try settle()
        recent.record(batch)
        guard recent.recordedBytes >= writeBufferSize else { return }
        // Whoever writes faster than files can be made waits here.
        if underWay.count >= Self.jobsMax {
            underWay.last?.wait()
            try settle()
        }
        beginStoring()
    }

    /// As long as it does not fill what is remembered: what comes then may have to wait for files.
    package func takesAtOnce(byteCount: Int) -> Bool { recent.recordedBytes + 2 * byteCount < writeBufferSize }

    package func flush() throws(EngineError) {
        beginStoring()
        try finish()
    }

    /// Begins what `flush` does; the answer, called on any thread, waits for its end.
    package func beginFlush() -> @Sendable () -> Void {
        beginStoring()
        return { [storer] in storer.wait() }
    }

    private func beginStoring() {
        guard !recent.isEmpty else { return }
        underWay.insert(storer.begin(recent), at: 0)
        recent = RecentRows()
    }

    /// Waits until all that is under way is stored.
    private func finish() throws(EngineError) {
        storer.wait()
        try settle()
    }

    /// Lets go of the rows that are in files by now. What could not be stored once fails for ever: it is missing below
    /// everything that came later.
    private func settle() throws(EngineError) {
        while let oldest = underWay.last, oldest.isDone {
            try storer.checkFailure()
            underWay.removeLast()
            storer.release(oldest)
        }
    }

    /// Makes `directory`, which must not exist, a database with the rows of this moment: stores them, then links the files.
    /// Cheap at any size, and open for reading as an engine of its own.
    package func checkpoint(to directory: String) throws(EngineError) {
        try flush()
        let checkpoint = try ErrorText.check { rocksdb_checkpoint_object_create(database.handle, $0) }
        guard let checkpoint else { throw .io("RocksDB gave no checkpoint") }
        defer { rocksdb_checkpoint_object_destroy(checkpoint) }
        try ErrorText.check { rocksdb_checkpoint_create(checkpoint, directory, 0, $0) }
    }

    package var statistics: EngineStatistics {
        let rows = [recent] + underWay.map(\.rows)
        let unflushed = UInt64(rows.reduce(0) { $0 + $1.recordedBytes })
        return EngineStatistics(
            rowsEstimated: database.property("rocksdb.estimate-num-keys") + UInt64(rows.reduce(0) { $0 + $1.rowCount }),
            residentBytes: unflushed + database.property("rocksdb.block-cache-usage")
                + database.property("rocksdb.estimate-table-readers-mem"),
            unflushedBytes: unflushed, diskBytes: database.property("rocksdb.total-sst-files-size"))
    }

    /// With the rows of the newest batches, four times `writeBufferSize`.
    private static let jobsMax = 3
}

/// The rows of a `RocksEngine` at one moment.
///
/// `@unchecked Sendable`: all that it reads may be read from any thread, and the field is set once.
package final class RocksView: EngineView, @unchecked Sendable {
    private let rows: any EngineReader

    fileprivate init(_ rows: any EngineReader) { self.rows = rows }

    package func get(_ key: RawSpan) throws(EngineError) -> [UInt8]? { try rows.get(key) }

    package func scan(
        from: [UInt8], to: [UInt8]?, reversed: Bool,
        _ body: (_ key: RawSpan, _ value: RawSpan) throws(EngineError) -> ScanStep
    ) throws(EngineError) {
        try rows.scan(from: from, to: to, reversed: reversed, body)
    }
}
