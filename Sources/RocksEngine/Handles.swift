internal import CRocksDB
internal import StateEngine

// Owners of what RocksDB's C interface hands out: each is destroyed exactly once, when its owner ends.

struct OptionsHandle: ~Copyable {
    let handle: OpaquePointer = rocksdb_options_create()
    deinit { rocksdb_options_destroy(handle) }
}

struct TableOptionsHandle: ~Copyable {
    let handle: OpaquePointer = rocksdb_block_based_options_create()
    deinit { rocksdb_block_based_options_destroy(handle) }
}

/// Shared with the database that uses it, which keeps it alive by itself.
struct CacheHandle: ~Copyable {
    let handle: OpaquePointer

    /// - Parameter shardBits: the cache is split into 2^shardBits parts with a lock each.
    init(capacity: Int, shardBits: Int32) {
        let options = rocksdb_lru_cache_options_create()
        defer { rocksdb_lru_cache_options_destroy(options) }
        rocksdb_lru_cache_options_set_capacity(options, capacity)
        rocksdb_lru_cache_options_set_num_shard_bits(options, shardBits)
        handle = rocksdb_cache_create_lru_opts(options)
    }

    deinit { rocksdb_cache_destroy(handle) }
}

struct ReadOptionsHandle: ~Copyable {
    let handle: OpaquePointer = rocksdb_readoptions_create()
    init() {
        rocksdb_readoptions_set_verify_checksums(handle, 1)
        // There are none (`RowStorer`). Where an iterator has to look for them, RocksDB before 8.5.2 takes damage at the
        // beginning of a file for the end of its level, and the rows behind it are missing without an error.
        rocksdb_readoptions_set_ignore_range_deletions(handle, 1)
    }

    deinit { rocksdb_readoptions_destroy(handle) }
}

struct EnvOptionsHandle: ~Copyable {
    let handle: OpaquePointer = rocksdb_envoptions_create()
    deinit { rocksdb_envoptions_destroy(handle) }
}

struct IngestOptionsHandle: ~Copyable {
    let handle: OpaquePointer = rocksdb_ingestexternalfileoptions_create()
    deinit { rocksdb_ingestexternalfileoptions_destroy(handle) }
}

/// Writes a table file that no database knows of yet.
struct TableFileHandle: ~Copyable {
    private let handle: OpaquePointer
    private let environment = EnvOptionsHandle()

    /// - Parameter options: those of the database that is to take it; they are used as long as this lives.
    init(_ path: String, _ options: borrowing OptionsHandle) throws(EngineError) {
        handle = rocksdb_sstfilewriter_create(environment.handle, options.handle)
        let handle = handle
        try ErrorText.check { rocksdb_sstfilewriter_open(handle, path, $0) }
    }

    deinit { rocksdb_sstfilewriter_destroy(handle) }

    /// In key order, each key once.
    func put(_ key: RawSpan, _ value: RawSpan) throws(EngineError) {
        try key.withUnsafeBytes { (key) throws(EngineError) in
            try value.withUnsafeBytes { (value) throws(EngineError) in
                try ErrorText.check {
                    rocksdb_sstfilewriter_put(
                        handle, key.baseAddress?.assumingMemoryBound(to: CChar.self), key.count,
                        value.baseAddress?.assumingMemoryBound(to: CChar.self), value.count, $0)
                }
            }
        }
    }

    func delete(_ key: RawSpan) throws(EngineError) {
        try key.withUnsafeBytes { (key) throws(EngineError) in
            try ErrorText.check {
                rocksdb_sstfilewriter_delete(
                    handle, key.baseAddress?.assumingMemoryBound(to: CChar.self), key.count, $0)
            }
        }
    }

    /// Returns when the file is durable.
    func finish() throws(EngineError) { try ErrorText.check { rocksdb_sstfilewriter_finish(handle, $0) } }
}

/// A value that RocksDB lends from its block cache.
struct PinnedValue: ~Copyable {
    private let handle: OpaquePointer

    init(_ handle: OpaquePointer) { self.handle = handle }
    deinit { rocksdb_pinnableslice_destroy(handle) }

    func copyBytes() -> [UInt8] {
        var size = 0
        let start = rocksdb_pinnableslice_value(handle, &size)
        return [UInt8](UnsafeRawBufferPointer(start: start, count: size))
    }
}

struct IteratorHandle: ~Copyable {
    private let handle: OpaquePointer

    init(_ handle: OpaquePointer) { self.handle = handle }
    deinit { rocksdb_iter_destroy(handle) }

    var isValid: Bool { rocksdb_iter_valid(handle) != 0 }
    func seekToFirst() { rocksdb_iter_seek_to_first(handle) }
    func seekToLast() { rocksdb_iter_seek_to_last(handle) }
    func next() { rocksdb_iter_next(handle) }
    func previous() { rocksdb_iter_prev(handle) }

    /// Lends the row under the iterator, which must be valid.
    func withRow<Result>(
        _ body: (_ key: RawSpan, _ value: RawSpan) throws(EngineError) -> Result
    ) throws(EngineError) -> Result {
        var keySize = 0
        var valueSize = 0
        let key = UnsafeRawBufferPointer(start: rocksdb_iter_key(handle, &keySize), count: keySize)
        let value = UnsafeRawBufferPointer(start: rocksdb_iter_value(handle, &valueSize), count: valueSize)
        return try body(key.bytes, value.bytes)
    }

    /// An iterator also ends where it cannot read on: then this throws.
    func checkEnd() throws(EngineError) {
        try ErrorText.check { rocksdb_iter_get_error(handle, $0) }
    }
}
