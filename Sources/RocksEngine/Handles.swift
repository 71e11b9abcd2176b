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
    init() { rocksdb_readoptions_set_verify_checksums(handle, 1) }
    deinit { rocksdb_readoptions_destroy(handle) }
}

struct WriteOptionsHandle: ~Copyable {
    let handle: OpaquePointer = rocksdb_writeoptions_create()
    deinit { rocksdb_writeoptions_destroy(handle) }
}

struct FlushOptionsHandle: ~Copyable {
    let handle: OpaquePointer = rocksdb_flushoptions_create()
    deinit { rocksdb_flushoptions_destroy(handle) }
}

struct BatchHandle: ~Copyable {
    let handle: OpaquePointer = rocksdb_writebatch_create()
    deinit { rocksdb_writebatch_destroy(handle) }

    func fill(from batch: borrowing WriteBatch) {
        rocksdb_writebatch_clear(handle)
        batch.forEach { kind, first, second in
            first.withUnsafeBytes { first in
                second.withUnsafeBytes { second in
                    let key = first.baseAddress?.assumingMemoryBound(to: CChar.self)
                    let value = second.baseAddress?.assumingMemoryBound(to: CChar.self)
                    switch kind {
                    case .put: rocksdb_writebatch_put(handle, key, first.count, value, second.count)
                    case .delete: rocksdb_writebatch_delete(handle, key, first.count)
                    case .deleteRange:
                        // RocksDB refuses a whole batch for a range whose ends are the wrong way round.
                        if first.bytes.order(comparedWith: second.bytes) < 0 {
                            rocksdb_writebatch_delete_range(handle, key, first.count, value, second.count)
                        }
                    }
                }
            }
        }
    }
}

/// A value that RocksDB lends from its block cache or memtable.
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
