internal import CRocksDB
internal import StateEngine

/// The rows in a database's table files: as they are, or as they were when this was made. RocksDB lets any thread read them
/// at any time.
final class RocksFiles: EngineReader {
    private let database: RocksDatabase
    private let options = ReadOptionsHandle()
    private let snapshot: OpaquePointer?

    init(_ database: RocksDatabase) {
        self.database = database
        snapshot = nil
    }

    init(pinnedIn database: RocksDatabase) throws(EngineError) {
        guard let snapshot = rocksdb_create_snapshot(database.handle) else {
            throw .io("RocksDB gave no snapshot")
        }
        self.database = database
        self.snapshot = snapshot
        rocksdb_readoptions_set_snapshot(options.handle, snapshot)
    }

    deinit { if let snapshot { rocksdb_release_snapshot(database.handle, snapshot) } }

    func get(_ key: RawSpan) throws(EngineError) -> [UInt8]? {
        let optionsHandle = options.handle
        let found = try key.withUnsafeBytes { (key) throws(EngineError) in
            try ErrorText.check {
                rocksdb_get_pinned(
                    database.handle, optionsHandle, key.baseAddress?.assumingMemoryBound(to: CChar.self), key.count, $0)
            }
        }
        guard let found else { return nil }
        return PinnedValue(found).copyBytes()
    }

    func scan(
        from: [UInt8], to: [UInt8]?, reversed: Bool,
        _ body: (_ key: RawSpan, _ value: RawSpan) throws(EngineError) -> ScanStep
    ) throws(EngineError) {
        // RocksDB refers to the bounds while the iterator lives, so all of it happens inside this borrow.
        let bounds = (from + (to ?? []))
        try bounds.span.bytes.withUnsafeBytes { (bounds) throws(EngineError) in
            let start = bounds.baseAddress?.assumingMemoryBound(to: CChar.self)
            let options = ReadOptionsHandle()
            if let snapshot { rocksdb_readoptions_set_snapshot(options.handle, snapshot) }
            if let start, !from.isEmpty {
                rocksdb_readoptions_set_iterate_lower_bound(options.handle, start, from.count)
            }
            if let to {
                // Nothing sorts before the empty key, and RocksDB takes an empty bound for none.
                guard let start, !to.isEmpty else { return }
                rocksdb_readoptions_set_iterate_upper_bound(options.handle, start + from.count, to.count)
            }
            guard let created = rocksdb_create_iterator(database.handle, options.handle) else {
                throw .io("RocksDB gave no iterator")
            }
            let iterator = IteratorHandle(created)
            if reversed { iterator.seekToLast() } else { iterator.seekToFirst() }
            while iterator.isValid {
                guard try iterator.withRow(body) == .next else { return }
                if reversed { iterator.previous() } else { iterator.next() }
            }
            try iterator.checkEnd()
        }
    }
}
