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

    /// Bytes of rows before they are flushed; also about what is replayed after a crash, four times over at most.
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

/// The rows in RocksDB, whose own write-ahead log is off: the replicated log is the log.
///
/// A batch goes to the memtable; a flush writes memtables out as a sorted file and names it in the manifest, in one
/// step. So a crash comes back to the end of some earlier batch, and the row in each batch that says how far the log
/// was applied tells from where to replay.
package final class RocksEngine: Engine {
    private let database: RocksDatabase
    private let readOptions = ReadOptionsHandle()
    private let durableReadOptions = ReadOptionsHandle()
    private let writeOptions = WriteOptionsHandle()
    /// Used again for every batch; replaced after a large one, whose memory it would keep.
    private var batchHandle = BatchHandle()

    /// Opens the database in `directory`, or makes one there; the parent must exist. One process at a time: RocksDB
    /// holds a lock on the directory.
    package init(directory: String, settings: RocksSettings = RocksSettings()) throws(EngineError) {
        database = try RocksDatabase(directory: directory, settings: settings)
        rocksdb_readoptions_set_read_tier(durableReadOptions.handle, Self.persistedTier)
        rocksdb_writeoptions_disable_WAL(writeOptions.handle, 1)
    }

    // MARK: Reading

    package func get(_ key: RawSpan) throws(EngineError) -> [UInt8]? { try database.get(key, readOptions) }

    package func getDurable(_ key: RawSpan) throws(EngineError) -> [UInt8]? {
        try database.get(key, durableReadOptions)
    }

    package func scan(
        from: [UInt8], to: [UInt8]?, reversed: Bool,
        _ body: (_ key: RawSpan, _ value: RawSpan) throws(EngineError) -> ScanStep
    ) throws(EngineError) {
        try database.scan(from: from, to: to, reversed: reversed, snapshot: nil, body)
    }

    package func makeView() throws(EngineError) -> RocksView { try RocksView(database) }

    // MARK: Writing

    package func write(_ batch: borrowing WriteBatch) throws(EngineError) {
        batchHandle.fill(from: batch)
        let batchPointer = batchHandle.handle
        try ErrorText.check { rocksdb_write(database.handle, writeOptions.handle, batchPointer, $0) }
        if batch.byteCount > Self.batchSizeKeptMax { batchHandle = BatchHandle() }
    }

    package func flush() throws(EngineError) {
        let options = FlushOptionsHandle()
        rocksdb_flushoptions_set_wait(options.handle, 1)
        let optionsPointer = options.handle
        try ErrorText.check { rocksdb_flush(database.handle, optionsPointer, $0) }
    }

    /// Makes `directory`, which must not exist, a database with the rows of this moment: flushes, then links the files.
    /// Cheap at any size, and open for reading as an engine of its own.
    package func checkpoint(to directory: String) throws(EngineError) {
        let checkpoint = try ErrorText.check { rocksdb_checkpoint_object_create(database.handle, $0) }
        guard let checkpoint else { throw .io("RocksDB gave no checkpoint") }
        defer { rocksdb_checkpoint_object_destroy(checkpoint) }
        // 0: flush whatever the size of RocksDB's own log; with that log off, what is not flushed would be missing.
        try ErrorText.check { rocksdb_checkpoint_create(checkpoint, directory, 0, $0) }
    }

    package var statistics: EngineStatistics {
        let memtables = database.property("rocksdb.cur-size-all-mem-tables")
        return EngineStatistics(
            rowsEstimated: database.property("rocksdb.estimate-num-keys"),
            residentBytes: memtables + database.property("rocksdb.block-cache-usage")
                + database.property("rocksdb.estimate-table-readers-mem"),
            unflushedBytes: memtables, diskBytes: database.property("rocksdb.total-sst-files-size"))
    }

    /// `ReadTier::kPersistedTier`: skips memtables, as long as RocksDB's own log is off. For single reads only.
    private static let persistedTier: Int32 = 2
    private static let batchSizeKeptMax = 16 * 1_024 * 1_024
}

/// The rows of a `RocksEngine` at one moment, as a RocksDB snapshot.
///
/// `@unchecked Sendable`: RocksDB lets any thread read through a snapshot, and the fields are set once.
package final class RocksView: EngineView, @unchecked Sendable {
    private let database: RocksDatabase
    private let snapshot: OpaquePointer
    private let readOptions = ReadOptionsHandle()

    fileprivate init(_ database: RocksDatabase) throws(EngineError) {
        guard let snapshot = rocksdb_create_snapshot(database.handle) else {
            throw .io("RocksDB gave no snapshot")
        }
        self.database = database
        self.snapshot = snapshot
        rocksdb_readoptions_set_snapshot(readOptions.handle, snapshot)
    }

    deinit { rocksdb_release_snapshot(database.handle, snapshot) }

    package func get(_ key: RawSpan) throws(EngineError) -> [UInt8]? { try database.get(key, readOptions) }

    package func scan(
        from: [UInt8], to: [UInt8]?, reversed: Bool,
        _ body: (_ key: RawSpan, _ value: RawSpan) throws(EngineError) -> ScanStep
    ) throws(EngineError) {
        try database.scan(from: from, to: to, reversed: reversed, snapshot: snapshot, body)
    }
}
